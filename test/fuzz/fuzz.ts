// `npm run fuzz`: sends many almost valid inputs to a real node.

import { numberOf, optionsOf, runMain } from '../support/command-line.ts'
import { FLAT, runFuzz } from './run.ts'

const HELP = `npm run fuzz -- [options]

Sends almost valid inputs to a node. Checks that each is answered, that every error has a code, that the node's log
contains neither failures nor secrets, and that its memory stays flat.

  --seed N    repeats the random choices of an earlier run
  --inputs N  number of inputs (100000, which take about 6 minutes)

Exit codes: 0 nothing wrong, 1 otherwise, 2 wrong usage.
`

const say = (text: string) => void process.stdout.write(`${text}\n`)
const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MiB`

async function main(): Promise<void> {
  const values = optionsOf({
    seed: { type: 'string' },
    inputs: { type: 'string' },
    help: { type: 'boolean', default: false },
  } as const)
  if (values.help) return void process.stdout.write(HELP)
  const seed = numberOf(values.seed, 'seed', 0, Math.floor(Math.random() * 2 ** 32))
  const inputs = numberOf(values.inputs, 'inputs', 1, 100_000)
  say(`seed ${seed}`)
  const { wrong, lines, answers, warm, end } = await runFuzz({ seed, inputs, built: true, say })
  for (const [name, count] of [...answers].sort()) say(`${String(count).padStart(8)}  ${name}`)
  say(`${lines} lines of log; memory ${mib(warm)} after the warm-up, ${mib(end)} at the end`)
  if (end > FLAT * warm) say(`WRONG: memory grew to more than ${FLAT} times its size`)
  for (const text of wrong) say(`WRONG: ${text}`)
  process.exitCode = wrong.length > 0 || end > FLAT * warm ? 1 : 0
}

await runMain(main, HELP)
