// npm run presence: checks that no member is a ghost or leaves without cause under faults, and measures the costs of
// members and the effect of a dead application on others.

import { writeFile, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { invocation, say } from '../../bench/command.ts'
import { intoFile, ROOT } from '../../bench/files.ts'
import { machine, table } from '../../bench/report.ts'
import { namesOf, numberOf, optionsOf, runMain } from '../support/command-line.ts'
import { type Costs, costs, PACE } from './costs.ts'
import { dead, type DeadRow, TIMEOUT_MS } from './dead.ts'
import { failover, ghosts, type Row } from './ghosts.ts'

const PARTS = ['ghosts', 'failover', 'costs', 'dead']
const OUT = join(ROOT, '.cache', 'presence')

const HELP = `npm run presence -- [options]

Checks under faults of nodes and Redis that each member who is gone leaves exactly once, and no other member leaves. Measures the
costs of members, and the effect of a dead application on other clients.

  --part NAMES  only these parts, separated by commas: ${PARTS.join(', ')}
  --members N   number of members, from 10 (1000); \`costs\` uses ten times as many
  --docs        write the results of these parts into docs/presence.md

The result is also in .cache/presence/presence.md.
Exit codes: 0 all joins and leaves are right and the costs below their goals, 1 otherwise, 2 wrong usage.
`

async function main(): Promise<void> {
  const values = optionsOf({
    part: { type: 'string' },
    members: { type: 'string' },
    docs: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  } as const)
  if (values.help) return void process.stdout.write(HELP)
  const parts = namesOf(values.part, 'part', PARTS)
  const members = numberOf(values.members, 'members', 10, 1000)

  process.setMaxListeners(100)
  const rows: Row[] = []
  if (parts.includes('ghosts')) rows.push(...(await ghosts(members, say)))
  if (parts.includes('failover')) rows.push(...(await failover(members, say)))
  const cost = parts.includes('costs') ? await costs(10 * members, say) : undefined
  const deadRows = parts.includes('dead') ? await dead(say) : []

  const by = `\`${invocation('presence')}\` on ${machine()}, Node ${process.versions.node}, ${new Date().toISOString().slice(0, 10)}. Nodes, Redis and clients share these cores.`
  const texts = Object.fromEntries(
    Object.entries({
      'presence:faults': rows.length > 0 && ghostsTable(rows),
      'presence:costs': cost !== undefined && costsTable(cost),
      'presence:dead': deadRows.length > 0 && deadTable(deadRows),
    }).flatMap(([name, found]) => (found === false ? [] : [[name, `${by}\n\n${found}`]])),
  )
  const text = Object.values(texts).join('\n\n')
  await mkdir(OUT, { recursive: true })
  await writeFile(join(OUT, 'presence.md'), `${text}\n`)
  process.stdout.write(`\n${text}\n`)
  if (values.docs) await intoFile('docs/presence.md', texts)

  const wrong = rows.filter(row => row.wrong !== '' || row.leaves !== row.due || row.disorderly > 0)
  for (const row of wrong) say(`WRONG: ${JSON.stringify(row)}`)
  const missed = [...(cost === undefined ? [] : missedCosts(cost)), ...missedWith(deadRows)]
  for (const goal of missed) say(`MISSED: ${goal}`)
  process.exitCode = wrong.length + missed.length > 0 ? 1 : 0
}

/** Maximum cost of a join and its leave, in publishes. */
const JOIN_OF_PUBLISH = 3
/** Maximum median time of a list of 1,000 members, ms. */
const SNAPSHOT_MS = 20
/** Maximum ratio of two p99: measurements on a busy machine vary by this factor. */
const P99_FACTOR = 1.5
/** Allowed delay beyond the timeout of the hook, ms. */
const LATE_MS = 250

function missedCosts({ pair, publish, snapshot }: Costs): string[] {
  const ratio = pair / publish
  return [
    ...(ratio > JOIN_OF_PUBLISH ? [`a join and a leave cost ${ratio.toFixed(1)} × a publish`] : []),
    ...(snapshot.median > SNAPSHOT_MS ? [`a list of 1,000 takes ${snapshot.median.toFixed(1)} ms`] : []),
  ]
}

function missedWith(rows: readonly DeadRow[]): string[] {
  return rows.flatMap(({ application, ratio, longest }) => [
    ...(ratio > P99_FACTOR
      ? [`an application that ${application}: p99 of others ${ratio.toFixed(1)} ×`]
      : []),
    ...(longest > TIMEOUT_MS + LATE_MS
      ? [`an application that ${application}: refused after ${longest} ms`]
      : []),
  ])
}

function ghostsTable(rows: readonly Row[]): string {
  const head = [
    'fault',
    'members at the end',
    'joins received',
    'leaves received',
    'leaves due',
    'out of order',
  ]
  return table(
    head,
    rows.map(({ fault, ...row }) => [
      fault,
      ...[row.members, row.joins, row.leaves, row.due, row.disorderly].map(each => each.toLocaleString('en')),
    ]),
  )
}

function costsTable({ members, joins, leaves, pair, publish, snapshot, inRedis, inNode }: Costs): string {
  const many = members.toLocaleString('en')
  return table(
    [`${many} members in one channel`, ''],
    [
      ['joins and leaves per second', `${Math.round(joins)} and ${Math.round(leaves)}`],
      [
        'CPU of a join and its leave (node and Redis)',
        `${(pair / publish).toFixed(1)} × a publish, ${Math.round(pair)} µs`,
      ],
      [`CPU of a publish, ${PACE} per second`, `${Math.round(publish)} µs`],
      [
        'the list of 1,000 members, median (longest)',
        `${snapshot.median.toFixed(1)} (${snapshot.most.toFixed(1)}) ms`,
      ],
      ['the same: CPU of node and Redis', `${snapshot.cpu.toFixed(1)} ms`],
      ['Redis, bytes per member', Math.round(inRedis).toLocaleString('en')],
      ['node, bytes per member beyond its connection', Math.round(inNode).toLocaleString('en')],
    ],
  )
}

function deadTable(rows: readonly DeadRow[]): string {
  return table(
    ['application', "others' p99, relative to a responding one", 'its own requests', 'longest'],
    rows.map(({ application, ratio, refused, longest }) => [
      application,
      `${ratio.toFixed(2)} ×`,
      refused,
      `${Math.round(longest)} ms`,
    ]),
  )
}

await runMain(main, HELP)
