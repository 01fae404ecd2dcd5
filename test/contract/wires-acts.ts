// The rest of the contract of the wires: the end and the pace of replayed streams, the end of a channel, erased events,
// and transient ones. Every wire meets it, on every engine.

import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import type { Client, Item, Target, Wire } from './clients.ts'
import { type Node, positionOf } from './node.ts'
import { fresh, idOf, idsOf, reading, take } from './wires.ts'
import { until } from '../support/until.ts'

export type Connect = (target: Target) => Promise<Client>

const END = { data: Buffer.alloc(0), end: true } as const
const UNTIL = { close: { code: 1000, reason: 'until' } }

const dataOf = (event: string) => JSON.parse(event).data

export function wireActs(t: Test, wire: Wire, node: Node, connect: Connect): void {
  t.test(
    'until ends a stream at a position, at a time or at the head; speed replays up to there',
    async t => {
      const channel = fresh()
      const channels = [channel]
      if (!wire.plans) {
        for (const plan of [{ until: 'head' }, { speed: '2' }])
          await t.rejects(connect({ channels, cursor: 'earliest', plan }), { code: 'FW_BAD_PARAMETER' })
        return
      }
      const ids: string[] = []
      const times: number[] = []
      for (let i = 0; i < 4; i++) {
        const [receipt] = await node.log.append(channel, [
          { data: Buffer.from(`${i}`), type: i % 2 ? 'odd' : 'even' },
        ])
        if (receipt === undefined) throw new Error('no receipt')
        node.hub.acknowledged(channel, receipt.position)
        ids.push(`${receipt.position.epoch}-${receipt.position.offset}`)
        times.push(receipt.time)
        await delay(2)
      }
      const read = async (more: Omit<Target, 'channels'>, wanted: readonly (string | undefined)[]) => {
        const client = await connect({ channels, cursor: 'earliest', ...more })
        const items = await readOut(client)
        t.same(items.flatMap(itemIds), wanted, JSON.stringify(more))
        t.match(items.at(-1), UNTIL, JSON.stringify(more))
        return items
      }
      const later = new Date(times[2] ?? 0).toISOString()
      const types = ['even']
      await Promise.all([
        read({ plan: { until: 'head' } }, ids),
        read({ plan: { until: 'head', speed: '1000' } }, ids),
        read({ plan: { until: ids[1] ?? '' } }, ids.slice(0, 2)),
        read({ plan: { until: `${times[2]}`, speed: '1000' } }, ids.slice(0, 2)),
        read({ plan: { until: later } }, ids.slice(0, 2)),
        read({ cursor: 'last:2', plan: { until: 'head' } }, ids.slice(2)),
        read({ cursor: ids[0], plan: { until: ids[2] ?? '' } }, ids.slice(1, 3)),
        read({ cursor: ids[3], plan: { until: 'head' } }, []),
        read({ select: { types }, plan: { until: 'head' } }, [ids[0], ids[2]]),
      ])
      const [gap] = await read({ cursor: 'x-500', plan: { until: 'head' } }, ids)
      t.match(gap, { gap: { from: 'x-500' } }, 'a client from a lost history is told of the gap')
      const replay = await connect({ channels, cursor: ids[1], plan: { speed: '1000' } })
      t.same(idsOf(await take(replay, 2)), ids.slice(2))
      const [next] = await node.append(channel, '"live"')
      t.equal(idOf(await replay.event()), next, 'without an end it continues')
    },
  )

  t.test('speed replays every event in order, even from a backlog of several pages', async t => {
    if (!wire.plans) return
    const channel = fresh()
    const ids = await node.append(channel, ...Array.from({ length: 2500 }, (_, i) => `${i}`))
    const plan = { until: 'head', speed: '1000' }
    const client = await connect({ channels: [channel], cursor: 'earliest', plan })
    t.strictSame((await readOut(client)).flatMap(itemIds), ids)
  })

  t.test('a channel ends: every reader receives the end, even one that resumes after it', async t => {
    // The refresh page shows ends as text: see test/unit/wires/ends.test.ts.
    if (wire.name === 'refresh') return
    const channel = fresh()
    const [first = ''] = await node.append(channel, '0')
    const client = await connect({ channels: [channel], cursor: first })
    if (wire.streams) await reading(node, channel)
    const [one, id = ''] = await node.append(channel, '1', END)
    const end = { end: { channel, id } }
    t.equal(idOf(await client.event()), one)
    t.same(await client.next(), end)
    t.equal(client.cursor, id)
    await closes(t, wire, client)
    client.cut()
    const again = await connect({ channels: [channel], cursor: id })
    t.same(await again.next(), end)
    await closes(t, wire, again)
    const filtered = await connect({ channels: [channel], cursor: first, select: { types: ['none'] } })
    t.same(await filtered.next(), end, 'whatever the filter')
    const newest = await connect({ channels: [channel], cursor: 'last:1' })
    t.equal(idOf(await newest.event()), one, 'the end is not one of the newest events')
    t.same(await newest.next(), end)
  })

  t.test('an erased event keeps its position, time and type, and nothing else', async t => {
    const channel = fresh()
    const secret = { data: Buffer.from('"secret"'), type: 'post', tags: new Map([['lang', 'ko']]) }
    const [one, two = '', three] = await node.append(channel, '1', secret, '3')
    const look = async () => (await node.get(`/v1/poll?channel=${channel}&limit=10`)).body
    const { time } = JSON.parse(await look()).events[1]
    t.equal(await node.log.erase(channel, positionOf(two)), true)
    await until('the node has applied the erasure', async () => !(await look()).includes('secret'))
    const client = await connect({ channels: [channel], cursor: 'earliest' })
    const [, erased = ''] = await take(client, 3)
    t.same(JSON.parse(erased), { channel, id: two, time, type: 'post', erased: true, data: null })
    t.equal(client.cursor, three)
    client.cut()
    const tagged = { filter: { key: 'lang', cmp: 'ex' } }
    const filtered = await connect({ channels: [channel], cursor: one, select: tagged })
    const [next] = await node.append(channel, { tags: new Map([['lang', 'en']]) })
    t.equal(idOf(await filtered.event()), next, 'its tags are gone too')
  })

  if (wire.streams) passing(t, node, connect)
}

/** The contract of long-lived connections: transient events, and `every`. */
function passing(t: Test, node: Node, connect: Connect): void {
  const relay = (channel: string, ...types: string[]) =>
    node.log.relay(
      channel,
      types.map(type => ({ data: Buffer.from(`"${type}"`), type })),
    )

  t.test('transient events arrive in order among the others, without an id, and only live', async t => {
    const channel = fresh()
    const [first = ''] = await node.append(channel, '0')
    const [all, some] = await Promise.all([
      connect({ channels: [channel], cursor: first }),
      connect({ channels: [channel], cursor: first, select: { types: ['b'] } }),
    ])
    await until('both clients are readers', () => node.hub.readers(channel) === 2)
    await relay(channel, 'a')
    const [one] = await node.append(channel, '1')
    await relay(channel, 'b', 'c')
    const [two, end] = await node.append(channel, '2', END)
    const got = await take(all, 5)
    t.same(got.map(dataOf), ['a', 1, 'b', 'c', 2])
    t.same(
      got.map(event => JSON.parse(event).id),
      [undefined, one, undefined, undefined, two],
    )
    t.same(await all.next(), { end: { channel, id: end } })
    t.same(dataOf(await some.event()), 'b')
    const late = await connect({ channels: [channel], cursor: first })
    t.same(idsOf(await take(late, 2)), [one, two])
    const refused = node.publish(channel, '3', 'application/json', '?transient=1')
    await t.rejects(refused, { message: /^409 .*FW_CHANNEL_ENDED/ })
  })

  t.test(
    'every: at most one stretch per interval, in which newest keeps the newest of each value',
    async t => {
      const channel = fresh()
      const [first = ''] = await node.append(channel, '0')
      const began = performance.now()
      const every = 100
      const select = { every: `${every}ms`, newest: 'type' }
      const target = { channels: [channel], select }
      let client = await connect({ ...target, cursor: first })
      const count = 24
      let last: string | undefined
      const publish = async () => {
        for (let i = 0; i < count; i++) {
          last = (await node.append(channel, { type: 'a' }))[0]
          await delay(5)
        }
      }
      const publishing = publish()
      const events: string[] = []
      const covered = () => events.reduce((sum, event) => sum + (JSON.parse(event).skipped ?? 0) + 1, 0)
      while (covered() < count) {
        events.push(await client.event())
        if (events.length !== 2) continue
        client.cut()
        client = await connect({ ...target, cursor: client.cursor })
      }
      const ms = performance.now() - began
      await publishing
      t.equal(covered(), count, 'each event is delivered or counted as skipped')
      t.equal(idOf(events.at(-1) ?? ''), last)
      // The new connection adds a stretch outside the interval.
      t.ok(events.length <= ms / every + 3, `${events.length} stretches in ${ms} ms`)
    },
  )

  t.test('every: transient events arrive with the next stretch, the newest of each value', async t => {
    const channel = fresh()
    const [first = ''] = await node.append(channel, '0')
    const select = { every: '100ms', newest: 'type' }
    const client = await connect({ channels: [channel], cursor: first, select })
    await reading(node, channel)
    const [one] = await node.append(channel, { type: 'kept' })
    await relay(channel, 'a', 'b', 'a', 'a')
    const events = await take(client, 3)
    t.equal(idOf(events[0] ?? ''), one)
    t.same(
      events.slice(1).map(event => [dataOf(event), JSON.parse(event).skipped]),
      [
        ['b', undefined],
        ['a', 2],
      ],
    )
  })
}

/** All items up to the close. */
async function readOut(client: Client): Promise<Item[]> {
  const items: Item[] = []
  do items.push(await client.next())
  while (!items.some(item => 'close' in item))
  return items
}

const itemIds = (item: Item) => ('event' in item ? [idOf(item.event)] : [])

/** A stream of a channel alone ends with it; Socket.IO's connections stay, and polls may ask again. */
async function closes(t: Test, wire: Wire, client: Client): Promise<void> {
  if (!wire.streams || wire.name === 'socket.io') return
  t.match(await client.next(), { close: { code: 1000, reason: 'end' } })
}
