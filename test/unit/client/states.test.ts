// The table of the client's states equals the one in docs/client.md, and a line follows the table.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Credentials } from '../../../client/credentials.ts'
import { Line } from '../../../client/line.ts'
import type { Env, Source } from '../../../client/link.ts'
import { type Happening, STATES, type StateName } from '../../../client/states.ts'

const NAMES = Object.keys(STATES) as StateName[]
const HAPPENINGS: readonly Happening[] = [
  'want',
  'unwanted',
  'opened',
  'failed',
  'unauthorized',
  'refused',
  'due',
  'retry',
  'offline',
  'online',
  'close',
]
/** Events that lead from `idle` to each state. */
const WAYS: Readonly<Record<StateName, readonly Happening[]>> = {
  idle: [],
  connecting: ['want'],
  connected: ['want', 'opened'],
  waiting: ['want', 'failed'],
  offline: ['offline'],
  unauthorized: ['want', 'unauthorized'],
  closed: ['close'],
}

/** A line whose requests are never answered. */
function lineOf(): { line: Line; seen: StateName[] } {
  const timing = {
    backoff: 60_000,
    maxBackoff: 60_000,
    open: 60_000,
    silence: 60_000,
    upgrade: 60_000,
    poll: 1000,
  }
  const env: Env = {
    url: 'http://127.0.0.1:9',
    credentials: new Credentials(undefined),
    timing,
    fetch: () => new Promise(() => {}),
    WebSocket: undefined,
    pages: { limit: 100 },
  }
  const seen: StateName[] = []
  const line = new Line(env, ['poll'], () => void seen.push(line.state.name))
  const nothing = () => {}
  const source: Source = {
    channel: 'news',
    options: {},
    cursor: 'latest',
    opened: nothing,
    event: nothing,
    gap: nothing,
    end: nothing,
    refused: nothing,
  }
  line.add(source)
  line.happen('unwanted')
  seen.length = 0
  return { line, seen }
}

t.test('each state has the transitions of the table, for every possible event', async t => {
  for (const name of NAMES) {
    for (const happening of HAPPENINGS) {
      const { line, seen } = lineOf()
      for (const step of WAYS[name]) line.happen(step)
      t.equal(line.state.name, name)
      seen.length = 0
      line.happen(happening)
      const next = STATES[name][happening]
      t.equal(line.state.name, next ?? name, `${name}, ${happening}`)
      t.strictSame(seen, next === undefined ? [] : [next], 'the new state is reported once')
      line.happen('close')
    }
  }
})

t.test('docs/client.md has the same table', async t => {
  const text = readFileSync(join(import.meta.dirname, '../../../docs/client.md'), 'utf8')
  const rows = [...text.matchAll(/^\| `(\w+)` \|(.*)\|$/gm)].map(([, name = '', cells = '']) => [
    name,
    cells.split('|').map(cell => cell.trim().replaceAll('`', '')),
  ]) as [string, string[]][]
  const [, head = ''] = /^\| state \|(.*)\|$/m.exec(text) ?? []
  const columns = head.split('|').map(cell => cell.trim().replaceAll('`', ''))
  t.strictSame(columns, HAPPENINGS)
  t.strictSame(
    Object.fromEntries(
      rows.filter(([name]) => name in STATES).map(([name, cells]) => [name, cells.slice(0, columns.length)]),
    ),
    Object.fromEntries(NAMES.map(name => [name, HAPPENINGS.map(each => STATES[name][each] ?? '')])),
  )
})

t.test('no way back to a connection ends the wait that the server requested', async t => {
  for (const way of [
    ['unwanted', 'want'],
    ['offline', 'online'],
  ] as const) {
    const { line } = lineOf()
    line.happen('want')
    const failed = Date.now()
    line.happen('failed', { fault: { why: 'busy', kind: 'ended', hint: 5000 } })
    for (const step of way) line.happen(step)
    t.equal(line.state.name, 'waiting', way[1])
    if (line.state.name === 'waiting') t.ok(line.state.until >= failed + 5000)
    line.happen('close')
  }
})

t.test('a wait lasts as long as the server requested, even if the page calls reconnect()', async t => {
  const { line } = lineOf()
  line.happen('want')
  const failed = Date.now()
  line.happen('failed', { fault: { why: 'busy', kind: 'ended', hint: 5000 } })
  t.equal(line.state.name, 'waiting')
  if (line.state.name !== 'waiting') return
  t.equal(line.state.why, 'busy')
  t.ok(line.state.until >= failed + 5000)
  line.happen('retry')
  t.equal(line.state.name as StateName, 'waiting', 'a reconnect() of the page does not end the wait either')
  line.happen('close')
})
