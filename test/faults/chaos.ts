// npm run chaos: runs every fault of the suite under load, then random faults for some minutes, and accounts for every
// event.

import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { namesOf, numberOf, optionsOf, runMain } from '../support/command-line.ts'
import { readConfig } from '../../services/config/config.ts'
import { onStop } from '../../services/signals.ts'
import { invocation, say } from '../../bench/command.ts'
import { intoFile, ROOT } from '../../bench/files.ts'
import { machine } from '../../bench/report.ts'
import { clusterFaults, sentinelFaults, startCluster, startSentinel } from './failovers.ts'
import { type Fault, faults } from './faults.ts'
import { runRandom } from './random.ts'
import { type ChaosResult, markdown } from './report.ts'
import { type Outcome, runFault } from './run.ts'
import { type SingleWorld, startSingle, type World, type WorldOptions } from './world.ts'

/** The result shown in the documents. Trial runs are written to another folder. */
const RESULTS = join(ROOT, 'test', 'faults', 'results')
const TRIALS = join(ROOT, '.cache', 'chaos')

const RANDOM = 'random'
const NAMES = [...[...faults, ...sentinelFaults, ...clusterFaults].map(({ name }) => name), RANDOM]
/** Duration of the random faults, minutes. */
const MINUTES = 10

const HELP = `npm run chaos -- [options]

Runs two writers, three edges, nginx, HAProxy and Redis on this machine, a publisher of 50 events/s with
idempotency keys, and 108 readers on all wires. Users join and leave, and webhooks notify an application, which is killed
and restarted at random. Injects each fault under this load, and accounts for every event at every reader and for every
webhook at the application. All cases take about 20 minutes.
Exit codes: 0 nothing lost silently, repeated or out of order; 1 otherwise; 2 wrong usage.

  --case NAMES   only these cases, separated by commas:
                 ${NAMES.join('\n                 ')}
  --minutes N    duration of the random faults, minutes (${MINUTES})
  --seed N       repeats the random choices of an earlier run
  --out DIR      folder for chaos.json and chaos.md (test/faults/results after a full run, otherwise .cache/chaos)
  --docs         copy the last test/faults/results into docs/benchmarks/faults.md, without a run
`

const options = {
  case: { type: 'string' },
  minutes: { type: 'string' },
  seed: { type: 'string' },
  out: { type: 'string' },
  docs: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const

/** Prints the result of a case. */
function printOutcome({ seconds, wrong, notes, verdict, lives }: Outcome): void {
  const { published, delivered, gaps, gapped } = verdict
  const figures = `${published} published, ${delivered} delivered, ${gapped} reported in ${gaps} gaps, ${seconds} s`
  say(`${wrong.length === 0 ? 'passed' : 'FAILED'}: ${figures}`)
  if (lives !== undefined)
    say(`  lives: ${lives.received} received, ${lives.repeated} repeated, ${lives.gaps} gaps`)
  for (const text of [...notes, ...wrong]) say(`  ${text}`)
}

/** One world and its cases. */
type Run<W extends World> = readonly [
  start: (options: WorldOptions) => Promise<W>,
  cases: readonly { name: string; run(world: W): Promise<Outcome> }[],
  /** The form of REDIS_URL that the nodes must support. */
  url: string,
]

function casesOf<W extends World>(faults: readonly Fault<W>[]) {
  return faults.map(fault => ({ name: fault.name, run: (world: W) => runFault(fault, world) }))
}

/** Whether nodes can be configured for such a Redis. */
function isSupported(url: string): boolean {
  try {
    readConfig([], { REDIS_URL: url })
    return true
  } catch {
    return false
  }
}

async function run(wanted: readonly string[], minutes: number, seed: number) {
  const outcomes: Outcome[] = []
  const left: string[] = []
  const inWorld = async <W extends World>([start, cases, url]: Run<W>) => {
    const own = cases.filter(({ name }) => wanted.includes(name))
    if (own.length === 0) return
    if (!isSupported(url)) {
      left.push(...own.map(({ name }) => name))
      say(`left out, since nodes do not support ${url}: ${own.map(({ name }) => name).join(', ')}`)
      return
    }
    const world = await start({ seed, built: true, lives: true, say: text => say(`  ${text}`) })
    const close = () => void world.close().finally(() => process.exit(130))
    const off = onStop(['SIGINT', 'SIGTERM'], close)
    try {
      for (const each of own) {
        say(`${outcomes.length + 1} of ${wanted.length}: ${each.name}`)
        const outcome = await each.run(world)
        outcomes.push(outcome)
        printOutcome(outcome)
      }
    } finally {
      off()
      await world.close()
    }
  }
  await inWorld([startSentinel, casesOf(sentinelFaults), 'redis+sentinel://127.0.0.1:26379/name'])
  await inWorld([startCluster, casesOf(clusterFaults), 'redis+cluster://127.0.0.1:7000'])
  const random = { name: RANDOM, run: (world: SingleWorld) => runRandom(minutes, world) }
  await inWorld([startSingle, [...casesOf(faults), random], 'redis://127.0.0.1'])
  return { outcomes, left }
}

async function main(): Promise<void> {
  const values = optionsOf(options)
  if (values.help) return void process.stdout.write(HELP)
  if (values.docs) {
    const text = await readFile(join(RESULTS, 'chaos.md'), 'utf8')
    return intoFile('docs/benchmarks/faults.md', { chaos: text })
  }
  const wanted = namesOf(values.case, 'case', NAMES)
  const minutes = numberOf(values.minutes, 'minutes', 0, MINUTES)
  const seed = numberOf(values.seed, 'seed', 0, Math.floor(Math.random() * 2 ** 32))
  say(`seed ${seed}`)
  // Each server that is started listens for the end of this process.
  process.setMaxListeners(100)
  const { outcomes, left } = await run(wanted, minutes, seed)
  const result: ChaosResult = {
    command: invocation('chaos'),
    date: new Date().toISOString(),
    machine: machine(),
    node: process.versions.node,
    seed,
    left,
    outcomes,
  }
  const whole = values.case === undefined && minutes >= MINUTES && left.length === 0
  const out = values.out ?? (whole ? RESULTS : TRIALS)
  const text = markdown(result)
  await mkdir(out, { recursive: true })
  await writeFile(join(out, 'chaos.json'), `${JSON.stringify(result, null, 2)}\n`)
  await writeFile(join(out, 'chaos.md'), `${text}\n`)
  process.stdout.write(`\n${text}\n\n`)
  say(`written to ${out}`)
  // A case that was requested by name and cannot run has not passed.
  const missed = values.case !== undefined && left.length > 0
  if (missed || outcomes.some(({ wrong }) => wrong.length > 0)) process.exitCode = 1
}

await runMain(main, HELP)
