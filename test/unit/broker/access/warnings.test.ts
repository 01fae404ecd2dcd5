// A node logs the rules that name a hook which their file does not define.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t from 'tap'
import { createAccess } from '../../../../services/node/create-access.ts'
import { configOf } from '../../../contract/node.ts'
import { temporaryFolder } from '../../../support/tools.ts'

t.test('rules that name an undefined hook are logged: ten one by one, the others as a number', async t => {
  const lines: string[] = []
  const logger = pino({ level: 'warn' }, { write: line => void lines.push(line) })
  const warnings = async (rules: number, more = '') => {
    const path = join(temporaryFolder(), 'rules.yaml')
    const list = Array.from({ length: rules }, (_, i) => `  - { match: "a${i}", subscribe: hook }\n`)
    writeFileSync(path, `channels:\n${list.join('')}default: { publish: [key, hook] }\n${more}`)
    const access = await createAccess(configOf({ RULES: path }), logger)
    access.close()
    return lines.splice(0).map(line => JSON.parse(line) as Record<string, unknown>)
  }
  t.match(await warnings(1), [
    { rule: 'a0', line: 2, ignored: ['subscribe: hook'] },
    { rule: 'default', ignored: ['publish: hook'] },
  ])
  const many = await warnings(30)
  t.equal(many.length, 11)
  t.match(many.at(-1), { rules: 21, msg: 'more rules name a hook that the file does not define' })
  t.strictSame(await warnings(30, 'hooks: { connect: { url: "https://a.example" } }\n'), [])
})
