// One log: clients of all protocols, and curl, read the events of a publisher of any protocol with unchanged data. The
// results are a table in docs/wires/index.md, which `ONE_LOG=write npx tap <this file>` writes.

import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Centrifuge } from 'centrifuge'
import { DurableStream, stream } from '@durable-streams/client'
import { EventSource } from 'eventsource-4'
import { io } from 'socket.io-client'
import t from 'tap'
import { WebSocket } from 'ws'
import { makeApiKey } from '../../../services/broker/access/api-keys.ts'
import { intoFile, ROOT, withTexts } from '../../../bench/files.ts'
import { startMemoryNode } from '../../contract/node.ts'
import { EVERYTHING } from '../../support/everything.ts'
import { clientsOf } from '../../support/pusher.ts'
import { until } from '../../support/until.ts'
import { temporaryFolder } from '../../support/tools.ts'

const CHANNEL = 'room-1'
const DOCUMENT = 'docs/wires/index.md'

const folder = temporaryFolder()
const { key, entry } = makeApiKey('writer', ['publish'], ['*'])
writeFileSync(join(folder, 'keys.json'), JSON.stringify([entry]))
writeFileSync(join(folder, 'rules.json'), '{"default":{"subscribe":"anyone","publish":"anyone"}}')
const node = await startMemoryNode({
  ...EVERYTHING,
  KEYS_FILE: join(folder, 'keys.json'),
  RULES: join(folder, 'rules.json'),
})
const base = `http://127.0.0.1:${node.port}`
const pusher = clientsOf(node.port)
const closing: (() => unknown)[] = [() => pusher.disconnect()]
t.teardown(async () => {
  for (const close of closing) close()
  await node.close()
})

const socket = io(base, { transports: ['websocket'] })
closing.push(() => socket.disconnect())

/** The data that each publisher publishes. */
const valueOf = (from: string) => ({ from, text: 'héllo "you"\n', deep: [1, 2.5, { none: null }] })

const post = async (
  path: string,
  body: string | URLSearchParams,
  headers: Record<string, string> = {},
): Promise<void> => {
  const answer = await fetch(base + path, { method: 'POST', body, headers })
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`)
}
const JSON_TYPE = { 'content-type': 'application/json' }

const publishers: Readonly<Record<string, (value: object) => Promise<unknown>>> = {
  fanwire: value =>
    post(`/v1/channels/${encodeURIComponent(CHANNEL)}/events`, JSON.stringify(value), JSON_TYPE),
  Centrifuge: data =>
    post('/api/publish', JSON.stringify({ channel: CHANNEL, data }), { ...JSON_TYPE, 'x-api-key': key }),
  Pusher: value => pusher.server.trigger(CHANNEL, 'update', value),
  Mercure: value =>
    post('/.well-known/mercure', new URLSearchParams({ topic: CHANNEL, data: JSON.stringify(value) })),
  'Durable Streams': value =>
    new DurableStream({ url: `${base}/v1/stream/${CHANNEL}`, contentType: 'application/json' }).append(
      JSON.stringify(value),
    ),
  'Socket.IO': data => socket.emitWithAck('publish', { channel: CHANNEL, data }),
}

type Found = unknown[]

/** Readers of each protocol: they follow the channel, and record what they receive. */
const readers: Readonly<Record<string, (found: Found) => Promise<void>>> = {
  fanwire: async found => {
    const source = new EventSource(`${base}/v1/sse?channel=${CHANNEL}`)
    closing.push(() => source.close())
    const take = ({ data }: { data: string }) => void found.push(JSON.parse(data).data)
    for (const type of ['message', 'update']) source.addEventListener(type, take)
    await new Promise(resolve => source.addEventListener('open', resolve))
  },
  Centrifuge: async found => {
    const client = new Centrifuge(`ws://127.0.0.1:${node.port}/connection/websocket`, {
      websocket: WebSocket,
    })
    closing.push(() => client.disconnect())
    const subscription = client.newSubscription(CHANNEL)
    subscription.on('publication', ({ data }) => void found.push(data))
    subscription.subscribe()
    client.connect()
    await subscription.ready()
  },
  Pusher: async found => {
    const { client } = pusher.connect()
    const channel = await pusher.subscribed(client, CHANNEL)
    channel.bind_global((_event: string, data: unknown) => void found.push(data))
  },
  Mercure: async found => {
    const source = new EventSource(`${base}/.well-known/mercure?topic=${encodeURIComponent('room-{id}')}`)
    closing.push(() => source.close())
    const take = ({ data }: { data: string }) => void found.push(JSON.parse(data))
    for (const type of ['message', 'update']) source.addEventListener(type, take)
    await new Promise(resolve => source.addEventListener('open', resolve))
  },
  'Durable Streams': async found => {
    const response = await stream({
      url: `${base}/v1/stream/${CHANNEL}`,
      live: 'sse',
      offset: '-1',
      json: true,
    })
    closing.push(() => response.cancel())
    response.subscribeJson(batch => void found.push(...batch.items))
  },
  'Socket.IO': async found => {
    const { ok } = await socket.emitWithAck('subscribe', { channel: CHANNEL, cursor: 'latest' })
    if (ok === undefined) throw new Error('Socket.IO is not subscribed')
    for (const type of ['message', 'update']) socket.on(type, ({ data }) => void found.push(data))
  },
}

const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b)

t.test('an event of each protocol is read by clients of all, and by curl', async t => {
  await DurableStream.create({ url: `${base}/v1/stream/${CHANNEL}`, contentType: 'application/json' })
  const read = new Map<string, Found>()
  for (const [name, follow] of Object.entries(readers)) {
    const found: Found = []
    read.set(name, found)
    await follow(found)
  }
  const names = Object.keys(publishers)
  for (const [name, publish] of Object.entries(publishers)) await publish(valueOf(name))
  const hasAll = (found: Found) => names.every(name => found.some(value => same(value, valueOf(name))))
  await until('all have read', () => [...read.values()].every(hasAll)).catch(() => {})
  const url = `${base}/v1/poll?channel=${CHANNEL}&cursor=earliest`
  const { stdout } = await promisify(execFile)('curl', ['-s', url])
  const { events } = JSON.parse(stdout) as { events: { type?: string; data: unknown }[] }
  read.set(
    'curl',
    events.filter(({ type }) => type !== 'fanwire:stream').map(({ data }) => data),
  )
  for (const [reader, found] of read) {
    t.strictSame(found, names.map(valueOf), `${reader} reads each once, in order, its data unchanged`)
  }
  const columns = [...read.keys()]
  const cell = (reader: string, publisher: string) =>
    read.get(reader)?.some(value => same(value, valueOf(publisher))) ? 'yes' : 'no'
  const table = [
    `| published by | ${columns.join(' | ')} |`,
    `|---|${'---|'.repeat(columns.length)}`,
    ...names.map(name => `| ${name} | ${columns.map(reader => cell(reader, name)).join(' | ')} |`),
  ].join('\n')
  if (process.env.ONE_LOG === 'write') await intoFile(DOCUMENT, { 'one-log': table })
  const document = readFileSync(join(ROOT, DOCUMENT), 'utf8')
  t.equal(document, withTexts(DOCUMENT, document, { 'one-log': table }), 'the document has the same table')
})
