// The contract of the wires (docs/protocol.md#read, ARCHITECTURE.md#fan-out): every wire meets it, on every engine.

import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { setImmediate, setTimeout as delay } from 'node:timers/promises'
import fc from 'fast-check'
import type { Test } from 'tap'
import { ALL_WIRES, type Client, type Item, Refused, type Target, type Wire } from './clients.ts'
import { type Node, offsetOf, type StartNode } from './node.ts'
import type { Receipt } from '../../services/broker/log/log.ts'
import { printPosition } from '../../services/broker/event/position.ts'
import { until } from '../support/until.ts'
import { wireActs } from './wires-acts.ts'

let made = 0
/** An unused channel. */
export function fresh(): string {
  return `wire:${++made}`
}

export function wireContract(
  t: Test,
  engine: string,
  startNode: StartNode,
  wires: readonly Wire[] = ALL_WIRES,
): void {
  // The tests run in parallel because they mostly wait, and each has its own nodes.
  t.jobs = wires.length
  for (const wire of wires) {
    const start: StartNode = settings => startNode({ ...wire.settings, ...settings })
    const over = wire.over === undefined ? '' : ` over ${wire.over}`
    t.test(`${wire.name}${over} on ${engine}`, { buffered: true }, t => contract(t, wire, start))
  }
}

async function contract(t: Test, wire: Wire, startNode: StartNode): Promise<void> {
  const node = await startNode({ HEARTBEAT: '200ms' })
  const small = await startNode({ HISTORY_EVENTS: '8', LINGER: '100ms' })
  t.teardown(async () => {
    await node.close()
    await small.close()
  })
  const clients: Client[] = []
  const connectTo = async (to: Node, target: Target) => {
    const client = await wire.connect(to, target)
    clients.push(client)
    return client
  }
  const connect = (channel: string, cursor?: string) => connectTo(node, { channels: [channel], cursor })
  t.afterEach(() => {
    for (const client of clients.splice(0)) client.cut()
  })

  t.test('sends its cursor before the first event, so that an early cut loses nothing', async t => {
    const channel = fresh()
    const [first = ''] = await node.append(channel, '"before"')
    const client = await connect(channel, 'latest')
    t.equal(client.opened, first)
    client.cut()
    await node.append(channel, '"while away"')
    const again = await connect(channel, client.opened)
    t.match(await again.event(), /"while away"/)
  })

  t.test('an empty channel has the position <epoch>-0, which is a cursor', async t => {
    const channel = fresh()
    const client = await connect(channel, 'latest')
    t.match(client.opened, /^[a-z0-9]{1,16}-0$/)
    const again = await connect(channel, client.opened)
    t.equal(again.opened, client.opened)
    const [id] = await node.append(channel, '1')
    t.equal(idOf(await again.event()), id)
  })

  t.test('delivers the event unchanged', async t => {
    const channel = fresh()
    const client = await connect(channel, wire.begin === 'latest' ? 'latest' : undefined)
    for (const [contentType, body, data, query] of LETTERS) {
      const id = await node.publish(channel, body, contentType, query)
      const event = await client.event()
      t.equal(event, (await node.get(`/v1/channels/${channel}/events/${id}`)).body)
      const { time } = JSON.parse(event)
      const type = printed(query)
      const encoding = contentType === 'application/octet-stream' ? ',"encoding":"base64"' : ''
      t.equal(event, `{"channel":"${channel}","id":"${id}","time":${time}${type}${encoding},"data":${data}}`)
    }
  })

  t.test('a name with any allowed character, single or doubled, means that channel and no other', async t => {
    const around = fresh()
    const names = [...SIGNS].map((sign, i) => `${around}${i}${sign}a${sign}${sign}`)
    names.push(`${around}/${SIGNS}`, `${SIGNS}${around}`)
    for (const chunk of [names.slice(0, 14), names.slice(14)]) {
      const starts = await Promise.all(chunk.map(async name => (await node.append(name, '0'))[0]))
      const client = await connectTo(node, { channels: chunk, cursor: starts.join(',') })
      const ids = await Promise.all(chunk.map(name => node.publish(name, '1')))
      const got = await take(client, chunk.length)
      t.strictSame(
        chunk.map(name => idsOf(got, name)),
        ids.map(id => [id]),
      )
      client.cut()
    }
    const client = await connect(names[0] as string, 'zzz-1')
    t.match(await client.next(), { gap: { channel: names[0] } })
  })

  t.test('starts at the given cursor, and by default where the wire begins', async t => {
    const channel = fresh()
    const ids = await node.append(channel, '1', '2', '3')
    t.equal(idOf(await (await connect(channel, 'earliest')).event()), ids[0])
    t.equal(idOf(await (await connect(channel, ids[1])).event()), ids[2])
    const [usual, latest] = await Promise.all([connect(channel), connect(channel, 'latest')])
    if (wire.begin === 'latest') t.equal(usual.opened, ids[2])
    else t.equal(idOf(await usual.event()), ids[0])
    t.equal(latest.opened, ids[2])
    const [next] = await node.append(channel, '4')
    t.equal(idOf(await latest.event()), next)
    if (wire.begin === 'latest') t.equal(idOf(await usual.event()), next)
  })

  t.test('a filter drops other events, and a resume does not reread them', async t => {
    const channel = fresh()
    const select = { types: ['post', 'edit'], filter: { key: 'lang', cmp: 'eq', val: 'ko' } }
    const target = { channels: [channel], select }
    const wanted = { type: 'post', tags: new Map([['lang', 'ko']]) }
    const others = [
      { type: 'post' },
      { type: 'other', tags: new Map([['lang', 'ko']]) },
      { tags: new Map([['lang', 'en']]) },
    ]
    await node.append(channel, { type: 'post' })
    const client = await connectTo(node, { ...target, cursor: 'latest' })
    const sent = await node.append(
      channel,
      ...others,
      wanted,
      ...others,
      { ...wanted, type: 'edit' },
      ...others,
    )
    t.same([idOf(await client.event()), idOf(await client.event())], [sent[3], sent[7]])
    if (wire.streams) {
      const item = await client.next()
      t.same(item, { passed: { channel, cursor: sent.at(-1) } }, 'with the heartbeat')
      t.equal(client.cursor, sent.at(-1))
    }
    client.cut()
    // A read from the log neither repeats filtered events nor misses any.
    await node.append(channel, ...Array.from({ length: 2500 }, () => ({ type: 'post' })))
    const [last] = await node.append(channel, wanted)
    const again = await connectTo(node, { ...target, cursor: sent[3] })
    t.same([idOf(await again.event()), idOf(await again.event())], [sent[7], last])
  })

  t.test('conflation keeps the newest of each value, and counts the skipped events', async t => {
    const channel = fresh()
    const ofType = (type: string) => ({ type, tags: new Map([['key', type]]) })
    const sent = await node.append(channel, ...['a', 'b', 'a', 'c', 'a', 'b'].map(ofType))
    for (const newest of ['type', 'tag:key']) {
      const client = await connectTo(node, { channels: [channel], cursor: 'earliest', select: { newest } })
      const got = await take(client, 3)
      t.same(got.map(idOf), [sent[3], sent[4], sent[5]])
      if (wire.name !== 'refresh')
        t.same(
          got.map(each => JSON.parse(each).skipped),
          [undefined, 2, 1],
        )
      t.equal(client.cursor, sent[5])
      client.cut()
    }
  })

  t.test('rejects invalid filters, with a code', async t => {
    const leaf = { key: 'a', cmp: 'eq', val: 'b' }
    const deep = (depth: number): object => (depth === 1 ? leaf : { op: 'not', nodes: [deep(depth - 1)] })
    for (const [code, select] of [
      ['FW_BAD_FILTER', { filter: { ...leaf, cmp: 'like' } }],
      ['FW_BAD_FILTER', { filter: deep(9) }],
      ['FW_BAD_FILTER', { filter: { op: 'or', nodes: Array.from({ length: 100 }, () => leaf) } }],
      ['FW_BAD_FILTER', { filter: { key: 'a', cmp: 'gt', val: 'much' } }],
      ['FW_BAD_TYPE', { types: ['gap'] }],
      ['FW_BAD_PARAMETER', { newest: 'data' }],
    ] as const) {
      const refused = connectTo(node, { channels: [fresh()], cursor: 'earliest', select })
      await t.rejects(refused, { code }, JSON.stringify(select).slice(0, 80))
    }
    const good = await connectTo(node, {
      channels: [fresh()],
      cursor: 'earliest',
      select: { filter: deep(8) },
    })
    t.match(good.opened, /-0$/)
  })

  t.test('starts with the newest events, or with those since a time', async t => {
    const [channel, other] = [fresh(), fresh()]
    const ids: string[] = []
    const times: number[] = []
    for (let i = 0; i < 5; i++) {
      const [receipt] = await node.log.append(channel, [{ data: Buffer.from(`${i}`) }])
      const { position, time } = receipt as Receipt
      node.hub.acknowledged(channel, position)
      ids.push(printPosition(position))
      times.push(time)
      await delay(2)
    }
    const read = async (cursor: string, from: number) => {
      const client = await connect(channel, cursor)
      t.same(idsOf(await take(client, 5 - from)), ids.slice(from), cursor)
      client.cut()
    }
    await Promise.all([
      read('last:2', 3),
      read('last:10000', 0),
      read(`since:${times[1]}`, 1),
      read('since:0', 0),
      read(`since:${(times[3] ?? 0) + 1}`, 4),
    ])
    const [elsewhere] = await node.append(other, '1')
    const both = await connectTo(node, { channels: [channel, other], cursor: 'last:1' })
    t.same((await take(both, 2)).map(idOf).sort(), [ids[4], elsewhere].sort())
    const late = await connect(channel, `since:${(times[4] ?? 0) + 1}`)
    if (wire.streams) t.equal(late.opened, ids[4])
    const [next] = await node.append(channel, '"next"')
    t.equal(idOf(await late.event()), next)
  })

  t.test('several channels have a list of cursors, in the requested order', async t => {
    const channels = [fresh(), fresh(), fresh(), fresh()] as const
    const [a, b, c, d] = channels
    const before = await Promise.all(channels.map(each => node.append(each, '1', '2', '3')))
    const cursor = `earliest,${before[1]?.[1]},latest,${before[3]?.[2]}`
    const client = await connectTo(node, { channels, cursor })
    // The order across channels is free; within each it is the log's.
    const got = await take(client, 4)
    t.same(idsOf(got, a), before[0])
    t.same(idsOf(got, b), [before[1]?.[2]])
    const after = await Promise.all(channels.map(each => node.append(each, '4')))
    const more = await take(client, 4)
    t.same(
      [a, b, c, d].map(each => idsOf(more, each)),
      after,
    )
    t.equal(client.cursor, after.flat().join(','))
    client.cut()
    const again = await connectTo(node, { channels, cursor: client.cursor })
    t.equal(again.opened, client.cursor)
    const [last] = await node.append(c, '5')
    t.equal(idOf(await again.event()), last)
  })

  t.test('a resume after any cut repeats and misses nothing', async t => {
    await fc.assert(
      fc.asyncProperty(script, async steps => {
        const channels = [fresh(), fresh(), fresh()]
        const published: string[][] = [[], [], []]
        const seen: string[][] = [[], [], []]
        let waiting = 0
        const target = (cursor: string, limit?: number): Target =>
          wire.streams || limit === undefined ? { channels, cursor } : { channels, cursor, limit }
        const begin = await Promise.all(channels.map(each => node.append(each, '"first"')))
        let client = await connectTo(node, target(begin.flat().join(',')))
        const read = async (count: number) => {
          for (const event of await take(client, count)) {
            const { channel, id } = JSON.parse(event)
            seen[channels.indexOf(channel)]?.push(id)
          }
          waiting -= count
        }
        for (const step of steps) {
          if ('publish' in step) {
            const { publish: channel, count, size } = step
            const data = new Array<string>(count).fill(`"${'x'.repeat(size)}"`)
            published[channel]?.push(...(await node.append(channels[channel] ?? '', ...data)))
            waiting += count
          } else if ('read' in step) {
            await read(Math.min(step.read, waiting))
          } else {
            client.cut()
            client = await connectTo(node, target(client.cursor, step.cut))
          }
        }
        await read(waiting)
        t.strictSame(seen, published)
        const [id] = await node.append(channels[1] ?? '', '"last"')
        if (idOf(await client.event()) !== id) throw new Error('more than the last event came')
        client.cut()
      }),
      { numRuns: 4 },
    )
  })

  t.test('a cursor with an unknown epoch is a gap up to the tail, reported once', async t => {
    const channel = fresh()
    const ids = await node.append(channel, '1', '2')
    const client = await connect(channel, 'zzz-5')
    const to = at(ids[0], 0)
    t.same(await client.next(), { gap: { channel, from: 'zzz-5', to } })
    t.same(idsOf(await take(client, 2)), ids)
    const next = await node.append(channel, '3')
    t.same(idsOf(await take(client, 1)), next)

    const again = await connect(channel, to)
    t.same(idsOf(await take(again, 3)), [...ids, ...next], 'no further gap after its `to`')
  })

  t.test('a cursor with an unknown epoch in an empty channel is a gap', async t => {
    const channel = fresh()
    const client = await connect(channel, 'zzz-5')
    const item = await client.next()
    const to = 'gap' in item ? item.gap.to : ''
    t.match(to, /^[a-z0-9]{1,16}-0$/)
    t.same(item, { gap: { channel, from: 'zzz-5', to } })
    const [id] = await node.append(channel, '1')
    t.equal(id, at(to, 1))
    t.equal(idOf(await client.event()), id)
  })

  t.test('a cursor beyond the head is a gap up to the head', async t => {
    const channel = fresh()
    const [, head = ''] = await node.append(channel, '1', '2')
    const client = await connect(channel, at(head, 99))
    t.same(await client.next(), { gap: { channel, from: at(head, 99), to: head } })
    const [id] = await node.append(channel, '3')
    t.equal(idOf(await client.event()), id)
  })

  t.test('a cursor that fell off the tail is a gap up to just before the tail', async t => {
    const channel = fresh()
    const ids = await small.append(channel, ...new Array<string>(20).fill('1'))
    const client = await connectTo(small, { channels: [channel], cursor: ids[3] })
    t.same(await client.next(), { gap: { channel, from: ids[3], to: ids[11] } })
    t.same(idsOf(await take(client, 8)), ids.slice(12))

    const earliest = await connectTo(small, { channels: [channel], cursor: 'earliest' })
    t.same(idsOf(await take(earliest, 8)), ids.slice(12), 'a reader from earliest receives none')
  })

  t.test('a gap in one channel does not affect the others', async t => {
    const channels = [fresh(), fresh(), fresh()]
    const ids = await Promise.all(channels.map(each => node.append(each, '1', '2')))
    const cursor = [ids[0]?.[0], 'zzz-1', ids[2]?.[1]].join(',')
    const client = await connectTo(node, { channels, cursor })
    const items = [await client.next(), await client.next(), await client.next(), await client.next()]
    const gaps = items.filter(item => 'gap' in item)
    t.same(gaps, [{ gap: { channel: channels[1], from: 'zzz-1', to: at(ids[1]?.[0], 0) } }])
    const events = items.flatMap(item => ('event' in item ? [item.event] : []))
    t.same(idsOf(events, channels[1]), ids[1])
    t.same(idsOf(events, channels[0]), [ids[0]?.[1]])
    const gapAt = items.findIndex(item => 'gap' in item)
    const eventAt = items.findIndex(item => 'event' in item && channelOf(item.event) === channels[1])
    t.ok(gapAt < eventAt, 'before the next event of its channel')
    t.equal(client.cursor, [ids[0]?.[1], ids[1]?.[1], ids[2]?.[1]].join(','))
  })

  // A refresh page shows only the newest thousand events.
  const most = { skip: wire.name === 'refresh' && 'a page does not show so many events' }
  t.test('a burst of 5,000 events arrives complete and in order', most, async t => {
    const channel = fresh()
    const client = await connect(channel, (await node.append(channel, '0'))[0])
    const sent: Promise<string[]>[] = []
    for (let i = 0; i < 5000; i += 100) {
      sent.push(node.append(channel, ...Array.from({ length: 100 }, (_, j) => `${i + j}`)))
    }
    const got = await take(client, 5000)
    t.strictSame(idsOf(got), (await Promise.all(sent)).flat())
    t.strictSame(
      got.map(event => JSON.parse(event).data),
      Array.from({ length: 5000 }, (_, i) => i),
    )
  })

  t.test('a backlog larger than a stretch arrives complete, whatever the event size', most, async t => {
    const channel = fresh()
    const mega = Buffer.from(`"${'m'.repeat(1024 * 1024 - 2)}"`)
    const [start] = await node.append(channel, '0')
    const ids: string[] = []
    for (let i = 0; i < 3; i++) {
      const many = new Array<string>(1100).fill(`"${'x'.repeat(250)}"`)
      ids.push(...(await node.append(channel, ...many)))
      ids.push(...(await node.append(channel, { data: mega }, '1')))
    }
    const readers = await Promise.all([connect(channel, start), connect(channel, start)])
    const [one, other] = await Promise.all(readers.map(reader => take(reader, ids.length)))
    t.strictSame(idsOf(one ?? []), ids)
    t.ok(
      one?.every((event, i) => event === other?.[i]),
      'two readers get the same',
    )
    t.equal(one?.filter(event => event.length > mega.length).length, 3)
  })

  t.test('low-priority events are batched and never reordered', async t => {
    const [alone, many, large, before] = [fresh(), fresh(), fresh(), fresh()]
    const low = { priority: 'low' } as const
    const large32 = { ...low, data: Buffer.from(`"${'x'.repeat(32 * 1024 - 2)}"`) }
    const waits = wire.streams || wire.name === 'long-poll'
    const came: string[] = []
    const follow = async (channel: string, ...appends: (typeof low | typeof large32 | object)[][]) => {
      const [start] = await node.append(channel, '0')
      const client = await connect(channel, start)
      const arriving = take(client, appends.flat().length)
      if (waits) await reading(node, channel)
      const ids: string[] = []
      for (const drafts of appends) ids.push(...(await node.append(channel, ...drafts)))
      if (wire.name === 'poll') {
        const { body } = await node.get(`/v1/poll?channel=${channel}&cursor=${start}`)
        t.same(
          JSON.parse(body).events.map((event: { id: string }) => event.id),
          ids,
          'a poll does not wait',
        )
      }
      t.same(idsOf(await arriving), ids)
      came.push(channel)
    }
    await Promise.all([
      follow(alone, [low]),
      follow(many, new Array(64).fill(low)),
      follow(large, [large32, large32]),
      follow(before, [low, low], [{}]),
    ])
    if (waits) {
      t.equal(came.at(-1), alone, 'one alone waits; a full batch or a normal event is sent at once')
    }
  })

  t.test('rejects malformed input, with a code', async t => {
    const channel = fresh()
    const path = (query: string) => `/v1/${wire.name}?${query}`
    // Invalid Socket.IO messages are tested in test/unit/wires/socket-io.test.ts.
    for (const [query, code] of wire.name === 'socket.io' ? [] : malformed(wire, channel)) {
      const { status, body } = await node.get(path(query), UPGRADE[wire.name] ?? {})
      t.equal(status, 400, query)
      t.equal(JSON.parse(body).error.code, code, query)
    }
    const most = wire.name === 'sse' ? 32 : 100
    const names = (count: number) => Array.from({ length: count }, (_, i) => `${channel}:${i}`)
    const refused = await connectTo(node, { channels: names(most + 1), cursor: 'earliest' }).catch(e => e)
    t.ok(refused instanceof Refused)
    t.equal(refused.code, 'FW_TOO_MANY_CHANNELS')
    if (wire.name !== 'long-poll') {
      const client = await connectTo(node, { channels: names(most), cursor: 'earliest' })
      t.equal(client.opened.split(',').length, most)
    }
  })

  t.test('leaves nothing behind after its readers leave', async t => {
    const channels = [fresh(), fresh()]
    const start = (await Promise.all(channels.map(each => small.append(each, '1')))).flat()
    const readers = [1, 2, 3].map(() => connectTo(small, { channels, cursor: start.join(',') }))
    const nexts = (await Promise.all(readers)).map(client => client.next().catch(error => ({ close: error })))
    if (wire.streams) t.equal(small.hub.stats().readers, 6)
    if (wire.name === 'long-poll') await until('all are waiting', () => small.hub.connections.held.size === 3)
    for (const client of clients) client.cut()
    t.ok((await Promise.all(nexts)).every(item => 'close' in item))
    await until('readers have left', () => {
      const { readers, wires } = small.hub.stats()
      return readers === 0 && wires[wire.name]?.connections === 0 && small.hub.connections.held.size === 0
    })
    await until('channels are closed', () => {
      const { channels, memory } = small.hub.stats()
      return channels === 0 && memory === 0
    })
    t.equal(small.hub.connections.full.size + small.hub.connections.leaving.size, 0)
  })

  wireActs(t, wire, node, target => connectTo(node, target))
  if (wire.streams) await standing(t, wire, node, startNode, connectTo)
}

/** The contract of long-lived connections. */
async function standing(
  t: Test,
  wire: Wire,
  node: Node,
  startNode: StartNode,
  connectTo: (node: Node, target: Target) => Promise<Client>,
): Promise<void> {
  t.test('sends heartbeats', async () => {
    const client = await connectTo(node, { channels: [fresh()] })
    await until('two heartbeats have arrived', () => client.heartbeats >= 2)
  })

  t.test('a client that stops reading costs no memory, delays nobody, and catches up later', async t => {
    const channel = fresh()
    const sockets = new Set<Socket>()
    const track = (socket: Socket) => sockets.add(socket)
    node.app.server.on('connection', track)
    const [start] = await node.append(channel, '0')
    const slow = await connectTo(node, { channels: [channel], cursor: start })
    const fast = await connectTo(node, { channels: [channel], cursor: start })
    node.app.server.off('connection', track)
    slow.pause()
    // Larger than the part of a pushed response that a client receives without reading: its window and Node's buffer.
    const data = noise(256 * 1024)
    const ids: string[] = []
    let most = 0
    while (ids.length < 80) {
      ids.push(...(await node.append(channel, data)))
      if (idOf(await fast.event()) !== ids.at(-1)) t.fail('the fast client received another event')
      for (const socket of sockets) most = Math.max(most, socket.writableLength)
    }
    // Over TLS and HTTP/2, the node detects with a delay that the fast connection is no longer full.
    await until('one reader is behind', () => node.hub.connections.full.size === 1)
    t.ok(most < 1024 * 1024, `at most ${most} bytes were queued`)
    slow.resume()
    t.strictSame(idsOf(await take(slow, ids.length)), ids)
    await until('no reader is behind', () => node.hub.connections.full.size === 0)
  })

  t.test('a client that stops reading until it falls off the tail receives a gap', async t => {
    const short = await startNode({ HISTORY_EVENTS: '16', STALL: '30s' })
    t.teardown(() => short.close())
    const channel = fresh()
    const [start = ''] = await short.append(channel, '0')
    const slow = await connectTo(short, { channels: [channel], cursor: start })
    slow.pause()
    const data = noise(256 * 1024)
    let last = start
    while (!hasFallenOff(short, last)) {
      last = (await short.append(channel, data))[0] ?? ''
      await setImmediate()
    }
    const ids = await short.append(channel, ...new Array<string>(16).fill('1'))
    slow.resume()
    const items: Item[] = []
    while (idOfItem(items.at(-1)) !== ids.at(-1)) items.push(await slow.next())
    t.ok(items.some(item => 'gap' in item))
    let expected = offsetOf(start)
    for (const item of items) {
      if ('gap' in item) {
        t.equal(offsetOf(item.gap.from), expected)
        expected = offsetOf(item.gap.to)
      } else if (offsetOf(idOfItem(item)) !== ++expected) t.fail(`${idOfItem(item)} is not ${expected}`)
    }
    slow.cut()
  })

  t.test('a client that stalls for too long receives a reason and is closed', async t => {
    const strict = await startNode({ STALL: '300ms' })
    t.teardown(() => strict.close())
    const channel = fresh()
    const [start = ''] = await strict.append(channel, '0')
    const stand = () => connectTo(strict, { channels: [channel], cursor: start })
    const reads = await stand()
    const [itsConnection] = strict.hub.connections
    const never = await stand()
    reads.pause()
    never.pause()
    const data = noise(256 * 1024)
    const fill = async () => {
      if (strict.hub.connections.full.size < 2) await strict.append(channel, data)
    }
    await until('one receives a goodbye', async () => {
      await fill()
      return itsConnection?.ended
    })
    await strict.append(channel, '"behind the goodbye"')
    reads.resume()
    let item = await reads.next()
    while (!('close' in item)) item = await reads.next()
    t.equal(item.close.code, 4001)
    t.ok(item.close.reason !== '')
    if (wire.name !== 'ws') t.ok((item.close.retry ?? 0) > 0, 'with a retry delay')
    await until('the other is cut', async () => {
      if (strict.hub.connections.leaving.size === 0) await fill()
      return strict.hub.stats().wires[wire.name]?.connections === 0
    })
    t.equal(strict.hub.stats().readers, 0)
    const seen = offsetOf(reads.cursor)
    await strict.append(channel, '"last"')
    const again = await connectTo(strict, { channels: [channel], cursor: reads.cursor })
    t.equal(offsetOf(idOf(await again.event())), seen + 1, 'and continues on a new connection')
    again.cut()
  })
}

// Helpers of the suite --------------------------------------------------------------------------------------

/** The next `count` events. Raises on any other item. */
export async function take(client: Client, count: number): Promise<string[]> {
  const events: string[] = []
  while (events.length < count) events.push(await client.event())
  return events
}

export function idOf(event: string): string {
  return JSON.parse(event.slice(0, event.indexOf(',"time":')).concat('}')).id
}

function idOfItem(item: Item | undefined): string {
  return item !== undefined && 'event' in item ? idOf(item.event) : ''
}

function channelOf(event: string): string {
  return event.slice('{"channel":"'.length, event.indexOf('","id":'))
}

/** The ids of the events: all, or those of `channel`. */
export function idsOf(events: readonly string[], channel?: string): string[] {
  return events.filter(event => channel === undefined || channelOf(event) === channel).map(idOf)
}

/** The position at `offset` in the epoch of `id`. */
export function at(id: string | undefined, offset: number): string {
  return `${id?.split('-')[0]}-${offset}`
}

/** Data of this many bytes that cannot be compressed much. */
export function noise(bytes: number): string {
  return `"${randomBytes(bytes)
    .toString('base64')
    .slice(0, bytes - 2)}"`
}

/**
 * Whether the only connection accepts no more bytes, and the next events of its reader were trimmed. The channel
 * retains 16 events, of which `last` is the newest. The kernel may accept more; the client receives a gap anyway.
 */
function hasFallenOff(node: Node, last: string): boolean {
  const [connection] = node.hub.connections.full
  const [reader] = connection?.readers ?? []
  return reader !== undefined && reader.offset < offsetOf(last) - 16
}

/** Waits until the channel has a reader. */
export async function reading(node: Node, channel: string): Promise<void> {
  await until(`${channel} has a reader`, () => node.hub.readers(channel) > 0)
}

/** The characters of channel names besides letters and digits. */
const SIGNS = "_.:~@-/#$=,;!+&()'?"

/** The members that a publish's query adds to the event's object. */
function printed(query: string): string {
  const parameters = [...new URLSearchParams(query)]
  const type = parameters.find(([name]) => name === 'type')?.[1]
  const tags = parameters.flatMap(([name, value]) =>
    name.startsWith('tag.') ? [[name.slice(4), value]] : [],
  )
  return (
    (type === undefined ? '' : `,"type":${JSON.stringify(type)}`) +
    (tags.length === 0 ? '' : `,"tags":${JSON.stringify(Object.fromEntries(tags))}`)
  )
}

const LETTERS: readonly [string, string | Buffer, string, string][] = [
  ['1.0', '1.0'],
  ['1e400', '1e400'],
  ['-0', '-0'],
  ['12345678901234567890.123456789', '12345678901234567890.123456789'],
  [
    '{"__proto__":{"a":1},"constructor":null,"a":1,"a":2}',
    '{"__proto__":{"a":1},"constructor":null,"a":1,"a":2}',
  ],
  ['{\r\n  "a": [1,\n2]\r}', '{    "a": [1, 2] }'],
  [
    '"\\u0000\\ud800 \\/ \u2028\u2029 \ufeff ł 漢字 🙂"',
    '"\\u0000\\ud800 \\/ \u2028\u2029 \ufeff ł 漢字 🙂"',
  ],
  ['"id: 1\\n\\ndata: x"', '"id: 1\\n\\ndata: x"'],
  [' null ', ' null '],
]
  .map(([body = '', data = '']): [string, string, string, string] => ['application/json', body, data, ''])
  .concat([
    ['text/plain', 'one\r\ntwo\n"three"\u2028', '"one\\r\\ntwo\\n\\"three\\"\u2028"', ''],
    ['text/plain', '', '""', '?type=empty'],
    ['application/json', '{}', '{}', '?type=a.B_c:~@-9'],
    ['application/json', '{}', '{}', '?type=post&tag.lang=ko&tag.gap=a%20b'],
    ['application/octet-stream', 'a', '"YQ=="', '?tag.team=%22'],
    ['application/json', '{}', '{}', '?type=message'],
  ])
  .concat([0, 1, 2, 3, 255].map(size => base64(Buffer.from(Array.from({ length: size }, (_, i) => 255 - i)))))

function base64(bytes: Buffer): [string, string, string, string] {
  return ['application/octet-stream', bytes as unknown as string, `"${bytes.toString('base64')}"`, '']
}

/** A client's steps: publishes elsewhere, reads some, is cut and reconnects with another limit. */
const script = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        publish: fc.nat(2),
        count: fc.integer({ min: 1, max: 40 }),
        size: fc.nat(3000),
      }),
    },
    { weight: 3, arbitrary: fc.record({ read: fc.nat(60) }) },
    { weight: 2, arbitrary: fc.record({ cut: fc.integer({ min: 1, max: 50 }) }) },
  ),
  { minLength: 12, maxLength: 30 },
)

const UPGRADE: Readonly<Record<string, Record<string, string>>> = {
  ws: {
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
  },
}

/** Invalid queries, and their errors. */
function malformed(wire: Wire, channel: string): [string, string][] {
  const c = `channel=${channel}`
  const cursors = [
    'x',
    'A-1',
    'a-01',
    'a-',
    '-1',
    'a--1',
    'a-1.0',
    'a-9007199254740993',
    'a'.repeat(17).concat('-1'),
  ]
  const lists = [
    'last:0',
    'last:10001',
    'since:',
    'since:x',
    'last:1,last:1',
    'a-1,b-2',
    'earliest,earliest',
    'a-1,',
    'Earliest',
    '%20latest',
    'a-1%00',
    '%C3%A4-1',
  ]
  const numbers: [string, string][] = [
    '0',
    '1001',
    '1e2',
    '-1',
    '',
    '1.5',
    '0x10',
    '99999999999',
    'limit=5&limit=5',
  ].map(value => [`${c}&limit=${value}`, 'FW_BAD_PARAMETER'])
  const waits: [string, string][] = ['0', '56', 'x'].map(value => [`${c}&wait=${value}`, 'FW_BAD_PARAMETER'])
  return [
    ...[...cursors, ...lists].map((cursor): [string, string] => [`${c}&cursor=${cursor}`, 'FW_BAD_CURSOR']),
    [`${c}&channel=other&cursor=a-1`, 'FW_BAD_CURSOR'],
    [`${c}&cursor=a-1&cursor=a-1`, 'FW_BAD_CURSOR'],
    [`${c}&${c}`, 'FW_BAD_CHANNEL'],
    ['channel=', 'FW_BAD_CHANNEL'],
    ['channel=a%252Fb', 'FW_BAD_CHANNEL'],
    ['channel=a+b', 'FW_BAD_CHANNEL'],
    ['channel=a%2F..%2Fb', 'FW_BAD_CHANNEL'],
    ['channel=.%2Fa', 'FW_BAD_CHANNEL'],
    ['channel=fanwire:probe', 'FW_BAD_CHANNEL'],
    ['channel=.', 'FW_BAD_CHANNEL'],
    ['channel=..', 'FW_BAD_CHANNEL'],
    [`channel=${'x'.repeat(201)}`, 'FW_BAD_CHANNEL'],
    [`${c}&Cursor=latest`, 'FW_BAD_PARAMETER'],
    [`${c}&__proto__=1`, 'FW_BAD_PARAMETER'],
    ...(wire.name === 'ws' ? [] : [['', 'FW_BAD_CHANNEL'] as [string, string]]),
    ...(wire.streams ? [[`${c}&limit=5`, 'FW_BAD_PARAMETER'] as [string, string]] : numbers),
    ...(wire.name === 'long-poll' ? waits : [[`${c}&wait=5`, 'FW_BAD_PARAMETER'] as [string, string]]),
  ]
}
