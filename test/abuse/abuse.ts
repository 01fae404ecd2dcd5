// npm run abuse: runs each attack beside well-behaved clients, and reports what happened to them and to the node.

import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Misused, namesOf, numberOf, optionsOf } from '../support/command-line.ts'
import { invocation, say } from '../../bench/command.ts'
import { intoFile, ROOT } from '../../bench/files.ts'
import { hottest } from '../../bench/processes/profile.ts'
import { machine } from '../../bench/report.ts'
import { attacks } from './attacks/index.ts'
import type { Attack } from './attack.ts'
import { type AbuseResult, markdown, missed } from './report.ts'
import { round } from './judge.ts'
import { type Outcome, runAttack } from './run.ts'

/** The result that docs/ shows; trials go elsewhere. */
const RESULTS = join(ROOT, 'test', 'abuse', 'results')
const TRIALS = join(ROOT, '.cache', 'abuse')

/** Duration of each attack, and of the quiet periods before and after it, s. */
const SECONDS = 10
const REST = 5

const HELP = `npm run abuse -- [options]

Each attack is done to a node of its own, from a process of its own at low priority, beside a well-behaved ws and sse
client and a publisher of 50 events a second. Their p99, the node's memory, descriptors and readers, and Redis' memory
are taken before, during and after it. All of it takes about 20 minutes. Ends with 1 where a goal is missed: the p99
stays under 5 times that at rest (which counts as 5 ms where it is less); memory, descriptors and readers come back;
the node is ready within 5 s afterwards; nothing is lost, repeated or out of order, and the node lives.

  --only NAMES   only these attacks, comma separated; --list names them
  --seconds N    how long each attack goes on (${SECONDS})
  --rest N       how long the good clients are alone before it and after it, s (${REST})
  --out DIR      where abuse.json and abuse.md go (test/abuse/results when all of it is run, else .cache/abuse)
  --profile      profile the nodes and print where the time goes; the figures are then no measurement
  --list         run nothing; list the attacks
  --docs         run nothing; put the last test/abuse/results into docs/benchmarks/abuse.md
`

const options = {
  only: { type: 'string' },
  seconds: { type: 'string' },
  rest: { type: 'string' },
  out: { type: 'string' },
  profile: { type: 'boolean', default: false },
  list: { type: 'boolean', default: false },
  docs: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const

function chosen(text: string | undefined): Attack[] {
  const wanted = namesOf(
    text,
    'attack',
    attacks.map(({ name }) => name),
  )
  return attacks.filter(({ name }) => wanted.includes(name))
}

function tell(outcome: Outcome): void {
  const { p99, ready } = outcome
  const goals = missed(outcome)
  const figures = `p99 ${round(p99.before)}, ${round(p99.during)}, ${round(p99.after)} ms; ready after ${ready?.toFixed(0) ?? '-'} ms`
  say(`${goals.length === 0 ? 'reached' : 'MISSED'}: ${figures}`)
  for (const goal of goals) say(`  ${goal}`)
}

async function main(): Promise<void> {
  const values = optionsOf(options)
  if (values.help) return void process.stdout.write(HELP)
  if (values.list) {
    const width = Math.max(...attacks.map(({ name }) => name.length))
    for (const { name, title, rate } of attacks)
      process.stdout.write(`${name.padEnd(width)}  ${title}; ${rate}\n`)
    return
  }
  if (values.docs)
    return intoFile('docs/benchmarks/abuse.md', { abuse: await readFile(join(RESULTS, 'abuse.md'), 'utf8') })
  const wanted = chosen(values.only)
  const seconds = numberOf(values.seconds, 'seconds', 1, SECONDS)
  const rest = numberOf(values.rest, 'rest', 1, REST)
  // Each process that is started listens for the end of this one.
  process.setMaxListeners(100)
  // What was started ends with this process.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))
  const outcomes: Outcome[] = []
  for (const [i, attack] of wanted.entries()) {
    say(`${i + 1} of ${wanted.length}: ${attack.name}: ${attack.title}`)
    const profile = values.profile ? await mkdtemp(join(tmpdir(), 'fanwire-profile-')) : undefined
    const outcome = await runAttack(attack, {
      built: true,
      rest,
      attack: seconds,
      profile,
      say: text => say(`  ${text}`),
    })
    outcomes.push(outcome)
    tell(outcome)
    if (profile !== undefined) for (const line of await hottest(profile)) say(line)
  }
  const result: AbuseResult = {
    command: invocation('abuse'),
    date: new Date().toISOString(),
    machine: machine(),
    node: process.versions.node,
    seconds,
    outcomes,
  }
  const whole = values.only === undefined && !values.profile && seconds >= SECONDS && rest >= REST
  const out = values.out ?? (whole ? RESULTS : TRIALS)
  const text = markdown(result)
  await mkdir(out, { recursive: true })
  await writeFile(join(out, 'abuse.json'), `${JSON.stringify(result, null, 2)}\n`)
  await writeFile(join(out, 'abuse.md'), `${text}\n`)
  process.stdout.write(`\n${text}\n\n`)
  say(`written to ${out}`)
  if (outcomes.some(outcome => missed(outcome).length > 0)) process.exitCode = 1
}

try {
  await main()
} catch (error) {
  if (!(error instanceof Misused)) throw error
  process.stderr.write(`${error.message}\n\n${HELP}`)
  process.exitCode = 2
}
