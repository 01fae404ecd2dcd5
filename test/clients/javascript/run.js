// Runs one client: node run.js NAME TARGETS. Prints every message that it receives as a line of JSON.

import process from 'node:process'

const [name, targets] = process.argv.slice(2)
const { follow } = await import(`./${name}.js`)
for (const [index, target] of JSON.parse(targets).entries()) {
  follow(target, (type, data) => console.log(JSON.stringify({ target: index, type, data })))
}
