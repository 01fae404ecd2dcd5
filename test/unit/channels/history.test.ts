// The history of a channel as a resource.

import t from 'tap'
import { ANONYMOUS } from '../../../services/broker/access/identity.ts'
import { type Position, printPosition } from '../../../services/broker/event/position.ts'
import type { Receipt } from '../../../services/broker/log/log.ts'
import { startMemoryNode } from '../../contract/node.ts'
import { ClosedWorld } from '../../support/closed-node.ts'
import { startApp } from '../http/app.ts'

const draft = (data: unknown) => ({ data: Buffer.from(JSON.stringify(data)) })
const drafts = (count: number) => Array.from({ length: count }, (_, i) => draft(i + 1))

t.test(
  'pages lead back to the oldest event, each in log order; the first has a cursor to follow from',
  async t => {
    const { app, log } = await startApp(t)
    const receipts = await app.fanwire.publisher.append('a/b', drafts(7), { identity: ANONYMOUS })
    const ids = receipts.map(({ position }) => printPosition(position as Position))
    const get = async (query: string) => (await app.inject(`/v1/channels/a%2fb/events?${query}`)).json()
    const newest = await get('limit=3')
    t.same(
      newest.events.map(({ id, data }: { id: string; data: number }) => [id, data]),
      [5, 6, 7].map(n => [ids[n - 1], n]),
    )
    t.match(newest, { cursor: ids[6], before: ids[4] })
    await log.append('a/b', [draft('new')])
    const older = await get(`limit=3&before=${newest.before}`)
    t.same(
      older.events.map(({ data }: { data: number }) => data),
      [2, 3, 4],
    )
    t.equal(older.cursor, undefined, 'older pages have no cursor to follow from')
    const oldest = await get(`limit=3&before=${older.before}`)
    t.same([oldest.events.length, oldest.before], [1, null])
    const between = await get(`after=${ids[1]}&before=${ids[4]}`)
    t.same([between.events.length, between.before], [2, null])
    const page = await app.inject('/v1/channels/a%2fb/events')
    const [event] = (await log.read('a/b', 'earliest', { events: 1, bytes: 1 })).events
    t.ok(page.body.includes(String(event?.json)), 'each event is the same byte for byte as on the wires')
    t.same(await get('before=unknown-3'), {
      events: [],
      before: null,
      gaps: [{ channel: 'a/b', from: 'unknown-3', to: ids[0]?.replace(/1$/, '0') }],
    })
  },
)

t.test('a page that cannot change is cached forever; one that can is revalidated', async t => {
  const { app, log } = await startApp(t)
  const receipts = await app.fanwire.publisher.append('a', drafts(9), { identity: ANONYMOUS })
  const id = (n: number) => printPosition((receipts[n - 1] as Receipt).position)
  const get = (query: string, headers = {}) => app.inject({ url: `/v1/channels/a/events?${query}`, headers })
  const FOR_EVER = 'public, max-age=31536000, immutable'
  for (const [query, policy] of [
    [`before=${id(9)}&after=${id(2)}`, FOR_EVER],
    [`before=${id(9)}&limit=3`, FOR_EVER],
    [`before=${id(9)}`, 'no-cache'],
    ['before=head&limit=3', 'no-cache'],
    [`before=${id(9).replace(/9$/, '10')}&limit=3`, 'no-cache'],
    ['before=unknown-4', 'no-cache'],
  ] as const) {
    const answer = await get(query)
    t.equal(answer.headers['cache-control'], policy, query)
    const { etag } = answer.headers
    t.match(etag, /^"[-\w]{22}"$/)
    const again = await get(query, { 'if-none-match': etag })
    t.same([again.statusCode, again.body, again.headers.etag], [304, '', etag])
  }
  const shown = await get(`before=${id(9)}&limit=3`, { authorization: 'Bearer k' })
  t.equal(shown.headers['cache-control'], 'private, max-age=31536000, immutable')
  const head = await app.inject({ method: 'HEAD', url: `/v1/channels/a/events?before=${id(9)}&limit=3` })
  t.same([head.statusCode, head.body], [200, ''])
  const before = await get('limit=2')
  await log.erase('a', (receipts[8] as Receipt).position)
  const after = await get('limit=2')
  t.not(after.headers.etag, before.headers.etag)
  t.match(after.json().events[1], { id: id(9), erased: true, data: null })
})

t.test('malformed input is rejected with a code', async t => {
  const { app } = await startApp(t)
  for (const [url, code] of [
    ['/v1/channels/a%20b/events', 'FW_BAD_CHANNEL'],
    ['/v1/channels/fanwire:probe/events', 'FW_BAD_CHANNEL'],
    ['/v1/channels/a/events?before=latest', 'FW_BAD_CURSOR'],
    ['/v1/channels/a/events?before=', 'FW_BAD_CURSOR'],
    ['/v1/channels/a/events?after=head', 'FW_BAD_CURSOR'],
    ['/v1/channels/a/events?after=x-01', 'FW_BAD_CURSOR'],
    ['/v1/channels/a/events?limit=0', 'FW_BAD_PARAMETER'],
    ['/v1/channels/a/events?limit=1001', 'FW_BAD_PARAMETER'],
    ['/v1/channels/a/events?befor=x-1', 'FW_BAD_PARAMETER'],
    ['/v1/channels/a/events?before=x-1&before=x-2', 'FW_BAD_PARAMETER'],
  ] as const) {
    const answer = await app.inject(url)
    t.equal(answer.statusCode, 400, url)
    t.equal(answer.json().error.code, code, url)
  }
})

t.test("a grant's filter applies, and pages skip the filtered events", async t => {
  const world = new ClosedWorld()
  const node = await startMemoryNode(world.settings)
  t.teardown(() => node.close())
  const of = (shop: string) => ({ tags: new Map([['shop', shop]]) })
  const ids = await node.append('room:1', of('17'), of('1'), of('1'), of('17'), of('1'))
  const filter = { key: 'shop', cmp: 'eq', val: '17' }
  const token = world.token({ caps: [{ channels: ['room:*'], allow: ['hst'], filter }] })
  const seen: string[] = []
  for (let before: string | null = 'head'; before !== null;) {
    const { headers, body } = await node.get(`/v1/channels/room:1/events?limit=2&before=${before}`, {
      authorization: `Bearer ${token}`,
    })
    t.equal(headers['cache-control'], 'private, no-cache', 'another token may have another filter')
    const page = JSON.parse(body)
    seen.unshift(...page.events.map(({ id }: { id: string }) => id))
    ;({ before } = page)
  }
  t.same(seen, [ids[0], ids[3]])
})
