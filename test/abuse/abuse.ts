// npm run abuse: runs each attack beside well-behaved clients, and reports its effects on them and on the node.

import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { namesOf, numberOf, optionsOf, runMain } from '../support/command-line.ts'
import { invocation, say } from '../../bench/command.ts'
import { intoFile, ROOT } from '../../bench/files.ts'
import { hottest } from '../../bench/processes/profile.ts'
import { machine } from '../../bench/report.ts'
import { attacks } from './attacks/index.ts'
import type { Attack } from './attack.ts'
import { type AbuseResult, markdown, missed } from './report.ts'
import { round } from './judge.ts'
import { type Outcome, runAttack } from './run.ts'

/** Folder of the results that docs/ shows. */
const RESULTS = join(ROOT, 'test', 'abuse', 'results')
const TRIALS = join(ROOT, '.cache', 'abuse')

/** Duration of each attack, and of the quiet periods before and after it, s. */
const SECONDS = 10
const REST = 5

const HELP = `npm run abuse -- [options]

Runs each attack against a separate node, from a separate process at low priority, beside a well-behaved ws and sse
client and a publisher of 50 events a second. Measures the clients' p99, the memory, descriptors and readers of the node,
and the memory of Redis, before, during and after the attack. All attacks take about 20 minutes.

Goals: the p99 stays below 5 times the p99 at rest, which counts as 5 ms if it is lower; memory, descriptors and readers
are released; the node is ready again within 5 s; no event is lost, repeated or out of order; the node does not crash.
Exit codes: 0 all goals reached, 1 a goal missed, 2 wrong usage.

  --only NAMES   only these attacks, separated by commas; --list prints their names
  --seconds N    duration of each attack, s (${SECONDS})
  --rest N       quiet time before and after each attack, s (${REST})
  --out DIR      folder for abuse.json and abuse.md (test/abuse/results after a full run, otherwise .cache/abuse)
  --profile      profile the nodes and print the hottest functions; this distorts the figures
  --list         list the attacks, without running them
  --docs         copy the last test/abuse/results into docs/benchmarks/abuse.md, without a run
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

function printOutcome(outcome: Outcome): void {
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
  // Each child process adds an exit listener to this process.
  process.setMaxListeners(100)
  // Child processes end with this process.
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
    printOutcome(outcome)
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

await runMain(main, HELP)
