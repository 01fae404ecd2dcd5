// Common properties of wires with a streaming HTTP response: the bytes are the same in every version of HTTP, they are
// encoded once, and a stream that breaks never looks complete.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fc from 'fast-check'
import t from 'tap'
import { sseFraming } from '../../../services/wires/sse/framing.ts'
import { wsFraming } from '../../../services/wires/ws/framing.ts'
import { bodyOf } from '../../contract/chunks.ts'
import { type Open, openStream } from '../../contract/clients.ts'
import { answerTo, destroy, openHttp2, openSession } from '../../contract/http2.ts'
import { type Node, startMemoryNode } from '../../contract/node.ts'
import { fresh } from '../../contract/wires.ts'
import { startNode } from '../../support/node.ts'
import { without } from '../../support/tools.ts'
import { until } from '../../support/until.ts'
import { Raw } from '../http/app.ts'
import {
  drafts,
  hubOf,
  listen,
  Listener,
  ScriptedLog,
  settled,
  streamFraming,
} from '../broker/fanout/scripted-log.ts'

const WIRES = ['sse', 'stream', 'push'] as const
type Wire = (typeof WIRES)[number]

const node = await startMemoryNode({ H2C_PORT: '0' })
t.teardown(() => node.close())

// Incomplete streams -----------------------------------------------------------------------------------------

const CUT = WIRES.map(() => 'ECONNRESET')

/** Opens each wire with Node's own client. Each promise resolves with a description of the end. */
async function openAll({ port }: { port: number }): Promise<Promise<string>[]> {
  const ends: Promise<string>[] = []
  for (const wire of WIRES) {
    const { answer } = await openStream({ port }, `/v1/${wire}?channel=news`)
    answer.resume()
    ends.push(
      once(answer, 'end').then(
        () => 'an end',
        error => error.code,
      ),
    )
  }
  return ends
}

t.test('H1: a killed node leaves a stream incomplete', async t => {
  const killed = await startNode()
  t.teardown(() => killed.kill())
  const ends = await openAll(killed)
  await killed.kill()
  t.strictSame(await Promise.all(ends), CUT)
})

t.test('H1: a node that stops, or cuts a client, leaves a stream incomplete', async t => {
  const stops = await startMemoryNode()
  t.teardown(() => stops.close())
  const opened = await openAll(stops)
  await stops.hub.connections.drain(0)
  t.strictSame(await Promise.all(opened), CUT)
  const cut = await openAll(stops)
  for (const socket of stops.app.sockets) socket.destroy()
  t.strictSame(await Promise.all(cut), CUT)
})

t.test('H1: over HTTP/2 a stopping node resets its streams after the goodbye', async t => {
  const own = await startMemoryNode({ H2C_PORT: '0' })
  t.teardown(() => own.close())
  const session = await openSession(own, { enablePush: false })
  t.teardown(() => destroy(session))
  const read = async (path: string) => {
    const stream = session.request({ ':path': path })
    let text = ''
    stream.on('data', data => {
      text += data
    })
    const ended = once(stream, 'end').then(
      () => 'an end',
      error => error.message,
    )
    const { ':status': status } = await answerTo(stream)
    return { status, ended, text: () => text }
  }
  const reset = 'Stream closed with error code NGHTTP2_INTERNAL_ERROR'
  const streams = await Promise.all(WIRES.map(wire => read(`/v1/${wire}?channel=news`)))
  // More than the initial window of a client (RFC 9113 section 6.9.2).
  await own.append('news', `"${'x'.repeat(300_000)}"`)
  await own.hub.connections.drain(0)
  for (const { ended, text } of streams) {
    t.equal(await ended, reset)
    t.match(text(), /x{300000}[^]*(: 1001 the node is stopping|"code":1001,.*\})\n$/)
  }
  const closed = new Promise<void>(resolve => session.once('close', resolve))
  own.app.fanwire.health.drain()
  const late = await read('/v1/sse?channel=news')
  t.equal(late.status, 200)
  t.equal(await late.ended, reset)
  t.match(late.text(), /^retry: \d+\n: FW_DRAINING: .*\n$/)
  await closed
})

t.test('H1: fetch in Node detects a broken stream, even one with only a retry hint', async t => {
  const stops = await startMemoryNode()
  t.teardown(() => stops.close())
  const open = (wire: string) => fetch(`http://127.0.0.1:${stops.port}/v1/${wire}?channel=news`)
  const answers = await Promise.all(WIRES.map(open))
  await stops.hub.connections.drain(0)
  await Promise.all(answers.map(answer => t.rejects(answer.text(), { message: 'terminated' })))
  stops.app.fanwire.health.drain()
  await t.rejects((await open('sse')).text(), { message: 'terminated' })
})

t.test('H1: curl reports a partial transfer', { skip: without('curl') }, async t => {
  const own = await startMemoryNode()
  t.teardown(() => own.close())
  const exits = WIRES.map(async wire => {
    const url = `http://127.0.0.1:${own.port}/v1/${wire}?channel=news`
    const [code] = await once(spawn('curl', ['-sN', url], { stdio: 'ignore' }), 'close')
    return code as number
  })
  await until('all read', () => own.hub.readers('news') === WIRES.length)
  await own.hub.connections.drain(0)
  t.strictSame(await Promise.all(exits), [18, 18, 18])
})

t.test('H1: the first piece of a body is the whole opening line', async t => {
  const { answer, asked } = await openStream(node, `/v1/stream?channel=${fresh()}`)
  const [data] = await once(answer, 'data')
  t.match(String(data), /^\{"open":\{"cursor":"[^"]+"\}\}\n$/)
  asked.destroy()
})

// The same bytes ---------------------------------------------------------------------------------------------

/** Reads a body up to the text `end`, as UTF-8. */
async function readUntil(of: Node, open: Open, path: string, end: string): Promise<string> {
  const { answer, asked } = await open(of, path)
  let text = ''
  for await (const piece of answer.setEncoding('utf8')) {
    text += piece
    if (text.endsWith(end)) break
  }
  asked.destroy()
  return text
}

async function readPlainUntil(of: Node, path: string, end: string): Promise<string> {
  const raw = new Raw(of.port).send(`GET ${path} HTTP/1.0\r\n\r\n`)
  await raw.until(new RegExp(`${end}$`))
  raw.close()
  return Buffer.from(bodyOf(raw.text), 'latin1').toString('utf8')
}

const JSON_DATA = fc.oneof(
  fc.jsonValue().map(value => JSON.stringify(value)),
  // Sizes around those at which the head of a chunk becomes longer.
  fc.integer({ min: 0, max: 5000 }).map(size => `"${'x'.repeat(size)}"`),
  fc.string({ unit: 'grapheme', maxLength: 50 }).map(text => JSON.stringify(text)),
)
const EVENT = fc.record(
  { data: JSON_DATA.map(data => Buffer.from(data)), type: fc.constantFrom('post', 'a:b') },
  { requiredKeys: ['data'] },
)

t.test('H1: a body has the same bytes over HTTP/1.1 (without its chunks), HTTP/1.0 and HTTP/2', async t => {
  const property = fc.asyncProperty(
    fc.constantFrom<Wire>(...WIRES),
    fc.array(EVENT, { minLength: 1, maxLength: 40 }),
    fc.integer({ min: 1, max: 2 }),
    async (wire, events, channels) => {
      const names = Array.from({ length: channels }, fresh)
      for (const name of names) await node.append(name, ...events)
      const [last = ''] = names.slice(-1)
      const [id] = await node.append(last, '"the end"')
      // All channels but the last start at their head, so that the order is fixed.
      const cursor = names.map(name => (name === last ? 'earliest' : 'latest')).join(',')
      const path = `/v1/${wire}?${names.map(name => `channel=${name}`).join('&')}&cursor=${cursor}`
      const end = wire === 'sse' ? `${id}\n\n` : '"the end"}\n'
      const bodies = await Promise.all([
        readUntil(node, openStream, path, end),
        readUntil(node, openHttp2, path, end),
        readPlainUntil(node, path, end),
      ])
      const [chunked, ...plain] = bodies.map(body => body.replace(/^retry: \d+$/m, 'retry'))
      t.strictSame(plain, [chunked, chunked])
      t.ok(chunked?.includes(`"id":"${id}"`))
    },
  )
  await fc.assert(property, { numRuns: 60 })
})

t.test('H1: a stretch is encoded once for all versions of HTTP', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  for (const { chunked, plain } of [sseFraming, streamFraming]) {
    const framings = [chunked, chunked, plain, plain]
    const head = log.head('a')
    const listeners: Listener[] = []
    for (const framing of framings) listeners.push(await listen(hub, 'a', head, new Listener(hub, framing)))
    log.add('a', drafts(3))
    await settled()
    const [one, other, view, otherView] = listeners.map(({ writes }) => writes[0])
    t.equal(one, other, 'one Buffer for all clients of HTTP/1.1')
    t.equal(view, otherView, 'one Buffer for the other versions')
    t.equal(one?.buffer, view?.buffer, 'both are views of the same memory')
    t.equal((one?.byteOffset ?? 0) + (one?.indexOf('\n') ?? 0) + 1, view?.byteOffset)
    for (const listener of listeners) listener.cut()
  }
  t.equal(wsFraming.within, undefined)
})
