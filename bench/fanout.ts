// npm run bench:fanout: measures the broker and its alternatives in one run, with the same load generator.

import { mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Bench, Case } from './cases/case.ts'
import { cases } from './cases/index.ts'
import { chosen, invocation, say } from './command.ts'
import { intoFile, readJson, RESULTS, TRIALS } from './files.ts'
import { combine, type Result, type Row } from './figures.ts'
import { fanwireBefore } from './peers/fanwire.ts'
import { allPeers } from './peers/index.ts'
import type { Peer } from './peers/peer.ts'
import { hottest, PARTS, parts } from './processes/profile.ts'
import {
  barsTable,
  type BenchResult,
  type CaseResult,
  caseMarkdown,
  glance,
  machine,
  markdown,
  ranWith,
  sharesTable,
} from './report.ts'

const HELP = `npm run bench:fanout -- [options]

  --runs N       runs of each case and peer; the median counts (3)
  --quick        one short run, written to .cache/bench: a functional check, not a measurement
  --case NAMES   only these, comma separated: ${cases.map(each => each.name).join(', ')}
  --before DIR   adds another built checkout of fanwire as the peer "before", to measure a change
  --peer NAMES   only these, comma separated: ${allPeers()
    .map(each => each.name)
    .join(', ')}
  --centrifugo PATH  the binary of Centrifugo 6; without it a small program on its library, if Go is installed
  --out DIR      folder of fanout.json and fanout.md (bench/results for a full run, otherwise .cache/bench)
  --bars         only the rows that the cost bars compare, with one table at the end; with --before DIR also those
                 of idle connections and quiet channels (written to .cache/bench)
  --profile      write CPU profiles of fanwire; print its hottest functions, and the share of each part of a node
  --docs         measure nothing; write the last bench/results into docs/benchmarks/brokers.md and README.md.
                 With --profile: profile the cases, and write the shares into docs/benchmarks/brokers.md
`

const options = {
  runs: { type: 'string', default: '3' },
  quick: { type: 'boolean', default: false },
  case: { type: 'string' },
  peer: { type: 'string' },
  before: { type: 'string' },
  centrifugo: { type: 'string' },
  out: { type: 'string' },
  bars: { type: 'boolean', default: false },
  profile: { type: 'boolean', default: false },
  docs: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const

async function runnable(wanted: readonly Peer[]): Promise<{ able: Peer[]; left: string[] }> {
  const able: Peer[] = []
  const left: string[] = []
  for (const peer of wanted) {
    const why = await peer.prepare()
    if (why === undefined) able.push(peer)
    else {
      left.push(`${peer.title}, ${why}`)
      say(`${peer.title} is left out: ${why}`)
    }
  }
  return { able, left }
}

/** One run; failures become a note. */
async function runOnce(each: Case, peer: Peer, bench: Bench): Promise<Result[]> {
  try {
    return await each.run(peer, bench)
  } catch (error) {
    const why = error instanceof Error ? (error.stack ?? error.message) : String(error)
    say(`failed: ${why}`)
    return [{ label: '', figures: {}, notes: [`failed: ${why.split('\n', 1)[0]}`] }]
  }
}

function rowsOf(peer: Peer, results: readonly Result[]): Row[] {
  const labels = [...new Set(results.map(({ label }) => label))]
  return labels.map(label => {
    const shown = labels.length > 1 && label !== '' ? `${peer.title}: ${label}` : peer.title
    const own = results.filter(result => result.label === label)
    return { ...combine(peer.name, shown, own), variant: label }
  })
}

function summary({ figures, notes = [] }: Result): string {
  const shown = Object.entries(figures).map(([name, value]) => `${name} ${Math.round(value * 100) / 100}`)
  return [...shown, ...notes].join(', ')
}

function find(rows: readonly Row[]) {
  return (peer: string, label?: string) =>
    rows.find(row => row.peer === peer && (label === undefined || row.variant === label))?.figures
}

/** The peers take turns, so that a temporarily slower machine affects all of them. */
async function measure(each: Case, able: readonly Peer[], runs: number, bench: Bench): Promise<CaseResult> {
  const names = bench.barsOnly ? ['fanwire', ...(each.against ?? [])] : [...each.peers, 'before']
  const peers = able.filter(({ name }) => names.includes(name))
  const results = new Map<Peer, Result[]>(peers.map(peer => [peer, []]))
  for (let run = 1; run <= runs; run++) {
    for (const peer of peers) {
      say(`${each.name}  ${peer.name}  run ${run} of ${runs}`)
      for (const result of await runOnce(each, peer, bench)) {
        say(`${each.name}  ${peer.name}  ${result.label}  ${summary(result)}`)
        results.get(peer)?.push(result)
      }
    }
  }
  const rows = [...results].flatMap(([peer, own]) => rowsOf(peer, own))
  return { name: each.name, title: each.title, rows, bars: each.bars(find(rows)) }
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options })
  if (values.help) return void process.stdout.write(HELP)
  if (values.docs && !values.profile) {
    const result = await readJson<BenchResult>(join(RESULTS, 'fanout.json'))
    const atAGlance = { 'bench:glance': glance(result) }
    await intoFile('README.md', atAGlance)
    return intoFile('docs/benchmarks/brokers.md', { ...atAGlance, 'bench:fanout': markdown(result) })
  }
  const runs = values.quick ? 1 : Number(values.runs)
  if (!Number.isInteger(runs) || runs < 1) throw new Error(`--runs takes a number from 1\n\n${HELP}`)
  const wanted = chosen(cases, values.case, HELP).filter(each => !values.bars || each.against !== undefined)
  const before = values.before === undefined ? [] : [fanwireBefore(values.before)]
  const { able, left } = await runnable(
    chosen([...before, ...allPeers(values.centrifugo)], values.peer, HELP),
  )
  const whole =
    wanted.length === cases.length &&
    values.peer === undefined &&
    values.before === undefined &&
    !values.quick &&
    !values.bars &&
    !values.profile
  const out = values.out ?? (whole ? RESULTS : TRIALS)

  const about = {
    command: invocation('bench:fanout'),
    date: new Date().toISOString(),
    machine: machine(),
    node: process.versions.node,
    runs,
    quick: values.quick,
    left,
  }
  const measured: CaseResult[] = []
  const shares = new Map<string, Map<string, number>>()
  for (const each of wanted) {
    await mkdir(TRIALS, { recursive: true })
    const profile = values.profile ? await mkdtemp(join(TRIALS, `profile-${each.name}-`)) : undefined
    const profileOf = (label: string) => profile && join(profile, encodeURIComponent(label))
    const progress = (text: string) => say(`${each.name}  ${text}`)
    const result = await measure(each, able, runs, {
      quick: values.quick,
      barsOnly: values.bars,
      profileOf,
      progress,
    })
    measured.push(result)
    process.stdout.write(`\n${caseMarkdown(result)}\n\n`)
    if (profile !== undefined) {
      process.stdout.write(`${profile}\n${(await hottest(profile)).join('\n')}\n\n`)
      for (const { peer, variant = '', notes } of result.rows) {
        const folder = profileOf(variant)
        if (peer !== 'fanwire' || folder === undefined || notes.some(note => note.startsWith('failed')))
          continue
        shares.set(`${each.name}: ${variant}`, await parts(folder))
      }
    }
    await write(out, { ...about, cases: measured })
  }
  if (values.bars) process.stdout.write(`\n${barsTable(measured)}\n\n`)
  if (values.profile) {
    const text = `${ranWith(about)}; % of a node's CPU time.\n\n${sharesTable(PARTS, shares)}`
    process.stdout.write(`\n${text}\n\n`)
    if (values.docs) await intoFile('docs/benchmarks/brokers.md', { 'bench:profile': text })
  }
  say(`written to ${out}`)
}

/** Writes the results. Called after every case, so that an aborted bench keeps them. */
async function write(out: string, result: BenchResult): Promise<void> {
  await mkdir(out, { recursive: true })
  await writeFile(join(out, 'fanout.json'), `${JSON.stringify(result, null, 2)}\n`)
  await writeFile(join(out, 'fanout.md'), `${markdown(result)}\n`)
}

await main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`)
  process.exitCode = 1
})
