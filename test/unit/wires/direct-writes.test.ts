// Deliveries that bypass a socket's stream: services/http/node/send-now.ts. Every client receives every byte, while
// other clients connect, disconnect, are killed or do not read, and the numbers of closed file descriptors are reused.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { type Client, WIRES } from '../../contract/clients.ts'
import { startMemoryNode } from '../../contract/node.ts'
import { fresh } from '../../contract/wires.ts'
import { createSendNow } from '../../../services/http/node/send-now.ts'
import { Random } from '../../support/random.ts'
import { until } from '../../support/until.ts'

const STREAMS = WIRES.filter(({ name }) => ['ws', 'sse', 'stream'].includes(name))
/** Number of clients in total. */
const CLIENTS = 240
/** Number of clients in parallel. */
const AT_ONCE = 60
/** Limit of the random length of a published text, characters. */
const LONGEST = 50_000
/** Number of clients in a process that is killed. */
const MANY = 150

const sent = { sent: 0, waits: 0, undefined: 0 }
const sendNow = createSendNow()
const node = await startMemoryNode(
  {},
  {
    sendNow(sink, bytes) {
      const how = sendNow?.(sink, bytes)
      sent[`${how}`]++
      return how
    },
  },
)
t.teardown(() => node.close())
t.beforeEach(() => void Object.assign(sent, { sent: 0, waits: 0, undefined: 0 }))

const lengths = new Random(1)
/** Texts of published events, by their number `n`. */
const textOf = new Map<number, string>()

function publish(
  channel: string,
  n: number,
  length = lengths.below(lengths.oneIn(8) ? LONGEST : 100),
): Promise<unknown> {
  const text = `${n} `.repeat(length).slice(0, length)
  textOf.set(n, text)
  return node.append(channel, JSON.stringify({ n, text }))
}

/** Reads up to `count` events and checks that they are consecutive. Returns the number of the last. */
async function follow(client: Client, count: number): Promise<number> {
  let last: number | undefined
  for (let i = 0; i < count; i++) {
    const { n, text } = JSON.parse(await client.event()).data
    if (last !== undefined && n !== last + 1) throw new Error(`${n} came after ${last}`)
    if (text !== textOf.get(n)) throw new Error(`event ${n} differs from the published one`)
    last = n
  }
  return last ?? -1
}

/** Publishes until `done` settles. */
async function publishDuring(channel: string, done: Promise<unknown>): Promise<void> {
  let over = false
  const ended = done.finally(() => {
    over = true
  })
  for (let n = 0; !over; n++) {
    await publish(channel, n)
    await new Promise(resolve => setTimeout(resolve, 1))
  }
  await ended
}

t.test('every byte arrives in order while clients connect, disconnect and stop reading', async t => {
  const random = new Random(2)
  const channel = fresh()
  let begun = 0
  const run = async () => {
    while (begun < CLIENTS) {
      const wire = STREAMS[begun++ % STREAMS.length]
      const client = await wire?.connect(node, { channels: [channel], cursor: 'latest' })
      if (client === undefined) return
      await follow(client, 1 + random.below(30))
      if (random.oneIn(6)) {
        client.pause()
        await new Promise(resolve => setTimeout(resolve, random.below(300)))
        client.resume()
        await follow(client, 20)
      }
      client.cut()
    }
  }
  await publishDuring(channel, Promise.all(Array.from({ length: AT_ONCE }, run)))
  t.equal(begun, CLIENTS)
  t.ok(sent.sent > CLIENTS, `${sent.sent} writes bypassed the stream`)
  await until('all are gone', () => node.hub.stats().readers === 0)
})

t.test('a client that stops reading receives everything once it reads again', async t => {
  for (const wire of STREAMS) {
    const channel = fresh()
    const client = await wire.connect(node, { channels: [channel], cursor: 'latest' })
    client.pause()
    sent.waits = 0
    let n = 0
    await until('its socket is full', async () => {
      await publish(channel, n++, 500_000)
      return sent.waits > 0
    })
    for (const end = n + 20; n < end; n++) await publish(channel, n)
    client.resume()
    t.equal(await follow(client, n), n - 1, wire.name)
    client.cut()
  }
})

t.test('clients whose process is killed do not harm others', async t => {
  const channel = fresh()
  const client = await STREAMS[0]?.connect(node, { channels: [channel], cursor: 'latest' })
  if (client === undefined) throw new Error('no wire')
  const many = `
    const { connect } = require('node:net')
    for (let i = 0; i < ${MANY}; i++) {
      const socket = connect(${node.port}, '127.0.0.1')
      const wire = i % 2 ? 'sse' : 'stream'
      socket.write('GET /v1/' + wire + '?channel=${channel} HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n')
      if (i % 3) socket.resume()
    }`
  const killed = async () => {
    for (let round = 0; round < 2; round++) {
      const child = spawn(process.execPath, ['-e', many], { stdio: 'ignore' })
      const exit = once(child, 'exit')
      await until('all of them read', () => node.hub.stats().readers === MANY + 1)
      const before = sent.sent
      await until('events are sent to them', () => sent.sent > before + 1000)
      child.kill('SIGKILL')
      await exit
      await until('they are gone', () => node.hub.stats().readers === 1)
    }
  }
  const done = killed()
  const followed = follow(client, 100)
  await publishDuring(channel, Promise.all([done, followed]))
  t.ok((await followed) >= 99)
  client.cut()
})
