// npm run fuzz: many inputs that are almost right, to a real node.

import { numberOf, optionsOf } from '../support/command-line.ts'
import { FLAT, runFuzz } from './run.ts'

const options = { seed: { type: 'string' }, inputs: { type: 'string' } } as const

const say = (text: string) => void process.stdout.write(`${text}\n`)
const values = optionsOf(options)
const seed = numberOf(values.seed, 'seed', 0, Math.floor(Math.random() * 2 ** 32))
const inputs = numberOf(values.inputs, 'inputs', 1, 100_000)
say(`seed ${seed}`)
const { wrong, lines, answers, warm, end } = await runFuzz({ seed, inputs, built: true, say })
for (const [name, count] of [...answers].sort()) say(`${String(count).padStart(8)}  ${name}`)
const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MiB`
say(`${lines} lines of log; memory ${mib(warm)} after the warm-up, ${mib(end)} at the end`)
if (end > FLAT * warm) say(`WRONG: memory grew by more than ${FLAT}`)
for (const text of wrong) say(`WRONG: ${text}`)
process.exitCode = wrong.length > 0 || end > FLAT * warm ? 1 : 0
