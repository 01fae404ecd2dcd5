// npm run presence: nobody is a ghost, and nobody has left who has not, whatever happens to nodes and Redis; what members
// cost; and what others notice of an application that is dead. With --docs docs/presence.md has the figures.

import { writeFile, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { invocation, say } from '../../bench/command.ts'
import { intoFile, ROOT } from '../../bench/files.ts'
import { machine, table } from '../../bench/report.ts'
import { namesOf, numberOf, optionsOf } from '../support/command-line.ts'
import { type Costs, costs } from './costs.ts'
import { dead, type DeadRow } from './dead.ts'
import { failover, ghosts, type Row } from './ghosts.ts'

const PARTS = ['ghosts', 'failover', 'costs', 'dead']
const values = optionsOf({
  part: { type: 'string' },
  members: { type: 'string' },
  docs: { type: 'boolean', default: false },
} as const)
const parts = namesOf(values.part, 'part', PARTS)
const members = numberOf(values.members, 'members', 10, 1000)
const OUT = join(ROOT, '.cache', 'presence')

process.setMaxListeners(100)
const rows: Row[] = []
if (parts.includes('ghosts')) rows.push(...(await ghosts(members, say)))
if (parts.includes('failover')) rows.push(...(await failover(members, say)))
const cost = parts.includes('costs') ? await costs(10 * members, say) : undefined
const deadRows = parts.includes('dead') ? await dead(say) : []

const text = [
  `\`${invocation('presence')}\` on ${machine()}, Node ${process.versions.node}, ${new Date().toISOString().slice(0, 10)}. Nodes, Redis and clients share these cores.`,
  ...(rows.length > 0 ? [ghostsTable(rows)] : []),
  ...(cost === undefined ? [] : [costsTable(cost)]),
  ...(deadRows.length > 0 ? [deadTable(deadRows)] : []),
].join('\n\n')
await mkdir(OUT, { recursive: true })
await writeFile(join(OUT, 'presence.md'), `${text}\n`)
process.stdout.write(`\n${text}\n`)
if (values.docs) await intoFile('docs/presence.md', { presence: text })

const wrong = rows.filter(row => row.wrong !== '' || row.leaves !== row.due || row.disorderly > 0)
for (const row of wrong) say(`WRONG: ${JSON.stringify(row)}`)
process.exitCode = wrong.length > 0 ? 1 : 0

function ghostsTable(rows: readonly Row[]): string {
  const head = ['fault', 'members at the end', 'joins told', 'leaves told', 'leaves due', 'out of turn']
  return table(
    head,
    rows.map(({ fault, ...row }) => [
      fault,
      ...[row.members, row.joins, row.leaves, row.due, row.disorderly].map(each => each.toLocaleString('en')),
    ]),
  )
}

function costsTable({ members, join, publish, snapshot, inRedis, inNode }: Costs): string {
  const many = members.toLocaleString('en')
  return table(
    [`${many} members in one channel`, ''],
    [
      ['CPU of a join, node and Redis, against that of a publish', `${(join / publish).toFixed(1)} ×`],
      ['the list of 1,000 members, median', `${snapshot.median.toFixed(1)} ms`],
      ['Redis, bytes a member', Math.round(inRedis).toLocaleString('en')],
      ['node, bytes a member beyond its connection', Math.round(inNode).toLocaleString('en')],
    ],
  )
}

function deadTable(rows: readonly DeadRow[]): string {
  return table(
    ['the application', "others' p99 against one that answers", 'its own requests', 'the longest'],
    rows.map(({ application, ratio, refused, longest }) => [
      application,
      `${ratio.toFixed(2)} ×`,
      refused,
      `${Math.round(longest)} ms`,
    ]),
  )
}
