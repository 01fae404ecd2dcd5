// Long polling, beyond the contract of every wire: requests are held, released and answered.

import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { openStream, queryOf, split, type Target } from '../../contract/clients.ts'
import { startMemoryNode } from '../../contract/node.ts'
import { fresh, idsOf } from '../../contract/wires.ts'
import { Raw } from '../http/app.ts'
import { until } from '../../support/until.ts'

const node = await startMemoryNode()
t.teardown(() => node.close())

/** Maximum hold time, s: longer than any test, so that no response is caused by a timeout. */
const LONG = 55

interface Page {
  readonly events: readonly string[]
  readonly cursor: string
  readonly more?: true
  readonly gaps?: readonly object[]
}

async function ask(target: Target, wait = LONG, of = node): Promise<Page> {
  const { status, body } = await of.get(`/v1/long-poll?wait=${wait}&${queryOf(target)}`)
  if (status !== 200) throw new Error(`${status} ${body}`)
  return { ...JSON.parse(body), events: split(body) }
}

const held = (count: number, of = node) =>
  until(`${count} are held`, () => of.hub.connections.held.size === count)
const connections = (of = node) => of.hub.stats().wires['long-poll']?.connections
async function nothingHeld(of = node): Promise<void> {
  await until(
    'nothing is held',
    () => of.hub.connections.held.size + of.hub.stats().readers === 0 && connections(of) === 0,
  )
}

t.test('a request is held until there is an event, and then answered at once', async t => {
  const channel = fresh()
  const [cursor] = await node.append(channel, '0')
  const asked = ask({ channels: [channel], cursor })
  await held(1)
  t.equal(connections(), 1)
  const [id] = await node.append(channel, '1')
  const page = await asked
  t.same(idsOf(page.events), [id])
  t.equal(page.cursor, id)
  await nothingHeld()
})

t.test('a request is answered at once if there is an event already', async t => {
  const channel = fresh()
  const ids = await node.append(channel, '0', '1', '2')
  t.same(idsOf((await ask({ channels: [channel], cursor: 'earliest' })).events), ids)
  t.same(idsOf((await ask({ channels: [channel], cursor: ids[1] })).events), [ids[2]])
  const part = await ask({ channels: [channel], cursor: ids[0], limit: 1 })
  t.same(idsOf(part.events), [ids[1]])
  t.equal(part.more, true)
  t.equal(
    (await ask({ channels: [channel], cursor: 'zzz-1' })).gaps?.length,
    1,
    'a gap is answered at once too',
  )
  const several = [fresh(), channel, fresh()]
  const list = await ask({ channels: several, cursor: `latest,${ids[1]},latest` })
  t.same(idsOf(list.events), [ids[2]], 'an event in any of the channels is enough')
})

t.test('after `wait` the response is 200 without events, and its cursor loses nothing', async t => {
  const channels = [fresh(), fresh()]
  const cursor = (await Promise.all(channels.map(each => node.append(each, '0')))).flat().join(',')
  const { status, headers, body } = await node.get(`/v1/long-poll?wait=1&${queryOf({ channels, cursor })}`, {
    'if-none-match': '*',
  })
  t.equal(status, 200, 'the status is never 304')
  t.equal(body, `{"events":[],"cursor":"${cursor}"}`)
  t.equal(headers.etag, undefined)
  t.equal(headers['cache-control'], 'no-store')
  const [id] = await node.append(channels[1] ?? '', '1')
  t.same(idsOf((await ask({ channels, cursor })).events), [id])
  await nothingHeld()
})

t.test('`latest` is the head at the time of the request', async t => {
  const channel = fresh()
  await node.append(channel, '0')
  const asked = ask({ channels: [channel] })
  await held(1)
  const [id] = await node.append(channel, '1')
  t.same(idsOf((await asked).events), [id])
})

t.test('only events of its own channels wake a request', async t => {
  const [channel, other] = [fresh(), fresh()]
  const asked = ask({ channels: [channel] })
  await held(1)
  for (let i = 0; i < 20; i++) {
    await node.append(other, '1')
    await setImmediate()
  }
  t.equal(node.hub.connections.held.size, 1)
  const [id] = await node.append(channel, '1')
  t.same(idsOf((await asked).events), [id])
})

t.test('a request is released when its client disconnects', async () => {
  const channels = [fresh(), fresh(), fresh()]
  const path = `/v1/long-poll?wait=${LONG}&${queryOf({ channels })}`
  const raws = Array.from({ length: 20 }, () =>
    new Raw(node.port).send(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`),
  )
  await held(20)
  for (const [i, raw] of raws.entries()) {
    if (i % 2 === 0) raw.socket.destroy()
    else raw.socket.resetAndDestroy()
  }
  await nothingHeld()
})

t.test('a request whose client disconnects before the channels are open is not held', async t => {
  const slow = await startMemoryNode()
  t.teardown(() => slow.close())
  const { log } = slow
  const follow = log.follow.bind(log)
  let go: () => void = () => {}
  const gate = new Promise<void>(resolve => {
    go = resolve
  })
  let opening = 0
  log.follow = async (name, follower) => {
    opening++
    await gate
    return follow(name, follower)
  }
  const path = `/v1/long-poll?wait=${LONG}&channel=${fresh()}`
  const raw = new Raw(slow.port).send(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`)
  await until('it opens', () => opening === 1)
  raw.socket.resetAndDestroy()
  await until('the node has noticed the disconnect', () => slow.app.sockets.size === 0)
  go()
  // There is nothing to wait for: if the request is not released, it is held by now.
  for (let i = 0; i < 50; i++) await setImmediate()
  t.equal(slow.hub.connections.held.size, 0)
  t.equal(connections(slow), 0)
})

t.test('a pipelined request is answered in its turn', async t => {
  const [a, b] = [fresh(), fresh()]
  const request = (channel: string) =>
    `GET /v1/long-poll?wait=${LONG}&channel=${channel} HTTP/1.1\r\nHost: x\r\n\r\n`
  const raw = new Raw(node.port).send(request(a) + request(b))
  await held(2)
  await node.append(b, '"second"')
  await held(1)
  t.equal(raw.text, '')
  await node.append(a, '"first"')
  const text = await raw.until(/"first"[^]*"second"/)
  t.match(text, /^HTTP\/1\.1 200[^]*"first"[^]*HTTP\/1\.1 200[^]*"second"/)
  raw.close()

  const gone = new Raw(node.port).send(request(a) + request(b))
  await held(2)
  gone.close()
  await nothingHeld()
  t.pass('the request is released when its client disconnects')
})

t.test('many requests at one cursor are all answered, with the same bytes', async t => {
  const channel = fresh()
  const [cursor] = await node.append(channel, '0')
  const path = `/v1/long-poll?wait=${LONG}&${queryOf({ channels: [channel], cursor })}`
  const asked = Array.from({ length: 200 }, () => node.get(path))
  await held(200)
  const readsBefore = node.hub.logReads.started
  const [id] = await node.append(channel, '"for all"')
  const bodies = new Set((await Promise.all(asked)).map(reply => reply.body))
  t.equal(bodies.size, 1)
  t.match([...bodies][0], new RegExp(`"${id}"[^]*"for all"`))
  t.ok(node.hub.logReads.started - readsBefore <= 1, 'the log is not read for each request')
  await nothingHeld()
})

t.test('repeated polls miss nothing while others publish', async t => {
  const channels = [fresh(), fresh(), fresh()]
  let { cursor } = await ask({ channels, cursor: 'latest' }, 1)
  const published: string[][] = [[], [], []]
  const seen: string[][] = [[], [], []]
  const total = 300
  const writer = (async () => {
    for (let i = 0; i < total; i++) {
      published[i % 3]?.push(...(await node.append(channels[i % 3] ?? '', `${i}`)))
      if (i % 5 === 0) await setImmediate()
    }
  })()
  for (let got = 0; got < total;) {
    const page = await ask({ channels, cursor, limit: 7 })
    for (const event of page.events) {
      const { channel, id } = JSON.parse(event)
      seen[channels.indexOf(channel)]?.push(id)
    }
    got += page.events.length
    cursor = page.cursor
  }
  await writer
  t.strictSame(seen, published)
})

t.test('a draining node answers held requests, and holds no new ones', async t => {
  const stopping = await startMemoryNode()
  t.teardown(() => stopping.close())
  const channel = fresh()
  const [cursor] = await stopping.append(channel, '0')
  const path = `/v1/long-poll?wait=${LONG}&${queryOf({ channels: [channel], cursor })}`
  const asked = [1, 2, 3].map(() => stopping.get(path))
  await held(3, stopping)
  stopping.app.fanwire.health.drain()
  await stopping.hub.connections.drain(10)
  for (const { status, headers, body } of await Promise.all(asked)) {
    t.equal(status, 200)
    t.equal(body, `{"events":[],"cursor":"${cursor}"}`)
    t.equal(headers.connection, 'close')
  }
  const refused = await stopping.get(path)
  t.equal(refused.status, 503)
  t.equal(JSON.parse(refused.body).error.code, 'FW_DRAINING')
  t.ok(refused.headers['retry-after'])
})

t.test('the head of the response is sent only with its body', async t => {
  // A client that has read the status must receive the events as well.
  const channel = fresh()
  const opened = openStream(node, `/v1/long-poll?wait=${LONG}&channel=${channel}`)
  await held(1)
  const [id] = await node.append(channel, '1')
  const { answer } = await opened
  let body = ''
  for await (const piece of answer) body += piece
  t.same(idsOf(split(body)), [id])
})
