// permessage-deflate (RFC 7692) on the ws wire: it is negotiated on request, readers share compressed bytes, and other
// clients are not affected.

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mock } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import zlib, { deflateRawSync, type InflateRaw } from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { offerToTake } from '../../../services/wires/ws/deflate-offer.ts'
import type { ClientOptions } from 'ws'
import { queryOf, type Target, WsClient } from '../../contract/clients.ts'
import { type Node, startMemoryNode } from '../../contract/node.ts'
import { fresh, idOf, take } from '../../contract/wires.ts'
import type { Raw } from '../http/app.ts'
import { codeOf, frame, handshake } from './ws-by-hand.ts'
import { until } from '../../support/until.ts'

const node = await startMemoryNode({ WS_DEFLATE: '1KiB', MAX_BODY: '100KiB' })
const plain = await startMemoryNode()
t.teardown(() => Promise.all([node.close(), plain.close()]))
const clients: { cut(): void }[] = []
t.afterEach(() => {
  for (const client of clients.splice(0)) client.cut()
})

async function connect(target: Target, options: ClientOptions = {}): Promise<WsClient> {
  const client = await new WsClient(node, target, options).connect(target)
  clients.push(client)
  return client
}

/** Connects a client that offers compression, and compresses everything that it sends. */
const deflating = (target: Target) => connect(target, { perMessageDeflate: { threshold: 0 } })

function offer(offers: string | undefined, of: Node = node, target?: Target): Raw {
  const path = `/v1/ws?${target === undefined ? '' : queryOf(target)}`
  const raw = handshake(of, path, offers === undefined ? '' : `Sec-WebSocket-Extensions: ${offers}\r\n`)
  clients.push({ cut: () => raw.close() })
  return raw
}

/** The extension that the node accepts for an offer; undefined if none. */
async function answerTo(offers: string, of?: Node): Promise<string | undefined> {
  const text = await offer(offers, of).until(/"open"/)
  return /^sec-websocket-extensions: (.*)\r$/im.exec(text)?.[1]
}

const PLAIN = 'permessage-deflate'
const AGREED = `${PLAIN}; server_no_context_takeover; client_no_context_takeover`

t.test('an offer is accepted, always without context takeover', async t => {
  for (const offers of [
    PLAIN,
    'permessage-deflate; client_max_window_bits',
    'permessage-deflate; client_max_window_bits=9',
    'permessage-deflate; client_max_window_bits="8" ; client_no_context_takeover',
    'permessage-deflate;server_no_context_takeover;client_no_context_takeover',
    'x-other; a="b", permessage-deflate',
    'permessage-deflate; server_max_window_bits=10, permessage-deflate',
    'permessage-deflate; something_new, permessage-deflate; client_max_window_bits',
  ]) {
    t.equal(await answerTo(offers), AGREED, offers)
  }
  const asked = await answerTo('permessage-deflate; server_max_window_bits = "15"; client_max_window_bits')
  t.same(new Set(asked?.split('; ')), new Set([...AGREED.split('; '), 'server_max_window_bits=15']))
})

t.test('an unsupported offer is declined, and the connection continues uncompressed', async t => {
  for (const offers of [
    '',
    'permessage-deflate; server_max_window_bits=14',
    'permessage-deflate; server_max_window_bits',
    'permessage-deflate; server_max_window_bits=015',
    'permessage-deflate; client_max_window_bits=16',
    'permessage-deflate; client_max_window_bits=7',
    'permessage-deflate; client_no_context_takeover=1',
    'permessage-deflate; client_max_window_bits; client_max_window_bits',
    'permessage-deflate; unknown',
    'permessage-deflate; __proto__',
    'permessage-deflate;',
    'x-webkit-deflate-frame',
    'permessage-deflate2',
    ',;=",,',
  ]) {
    t.equal(await answerTo(offers), undefined, offers)
  }
})

t.test('by default nothing is negotiated', async t => {
  t.equal(await answerTo(PLAIN, plain), undefined)
  t.equal(await answerTo('permessage-deflate; client_max_window_bits', plain), undefined)
})

t.test(
  'from the threshold on messages are compressed, in shared bytes for all clients that accept them',
  async t => {
    const channel = fresh()
    const target = { channels: [channel] }
    const raws = [offer(PLAIN, node, target), offer(PLAIN, node, target), offer(undefined, node, target)]
    await Promise.all(raws.map(raw => raw.until(/"open"[^]*\}\}/)))
    const [small = ''] = await node.append(channel, '"small"', `"${'x'.repeat(5000)}"`, '"end"')
    const texts = await Promise.all(raws.map(raw => raw.until(/"end"\}/)))
    const [one = '', other = '', without = ''] = texts.map(text => text.slice(text.indexOf(`"${small}"`)))
    t.equal(one, other)
    t.ok(one.length < 1000 && without.length > 5000)
    t.match(one, /"small"\}\xc1/, 'the second is compressed')
    t.match(without, /"small"\}\x81/, 'messages to a client that did not offer it are not compressed')
    t.match(one, /\x81.\{"channel":"[^"]*","id":"[^"]*","time":\d*,"data":"end"\}$/)
  },
)

t.test('texts, answers and pongs are the same with and without compression, in order', async t => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.oneof(
          fc.record({
            kind: fc.constantFrom('same', 'noise', 'words'),
            size: fc.nat(6000),
            times: fc.nat(20),
          }),
          fc.constant('ping' as const),
          fc.constant('behind' as const),
        ),
        { minLength: 5, maxLength: 30 },
      ),
      async steps => {
        const target = { channels: [fresh()] }
        const readers = await Promise.all([connect(target), deflating(target), deflating(target)])
        t.same(
          readers.map(reader => reader.socket.extensions),
          ['', PLAIN, PLAIN],
        )
        const [channel = ''] = target.channels
        const ids: string[] = []
        let pongs = 0
        for (const reader of readers) reader.socket.on('pong', () => pongs++)
        for (const step of steps) {
          if (step === 'ping') {
            for (const reader of readers) {
              reader.socket.ping('p')
              reader.send({ ref: 'x'.repeat(100), ping: true })
            }
          } else if (step === 'behind') {
            // A reader that is behind gets other stretches than those at the head.
            readers[1]?.pause()
            await setImmediate()
            readers[1]?.resume()
          } else {
            const data = `"${DATA[step.kind](step.size)}"`
            ids.push(...(await node.append(channel, ...new Array<string>(step.times + 1).fill(data))))
          }
        }
        const late = await deflating({ ...target, cursor: 'earliest' })
        const got = await Promise.all([...readers, late].map(reader => take(reader, ids.length)))
        t.strictSame(got[0]?.map(idOf), ids)
        for (const other of got.slice(1)) t.strictSame(other, got[0])
        const pings = 3 * steps.filter(step => step === 'ping').length
        for (let i = 0; i < pings; i++) await readers[i % 3]?.answers.take()
        await until('pongs', () => pongs === pings)
        for (const reader of [...readers, late]) reader.cut()
      },
    ),
    { numRuns: 15 },
  )
})

const DATA = {
  same: (size: number) => 'x'.repeat(size),
  noise: (size: number) => randomBytes(size).toString('base64'),
  words: (size: number) => '{\\"id\\":1,\\"name\\":\\"ł 🙂\\"}'.repeat(size / 25),
}

t.test('commands may be compressed, and keep their order', async t => {
  const channel = fresh()
  const made = mock.method(zlib, 'createInflateRaw')
  t.teardown(() => made.mock.restore())
  const client = await deflating({ channels: [channel] })
  const data = 'y'.repeat(3000)
  for (let i = 0; i < 100; i++) client.send({ ref: i, publish: { channel, data: `${i}${data}` } })
  const events = await take(client, 100)
  t.strictSame(
    events.map(event => JSON.parse(event).data),
    Array.from({ length: 100 }, (_, i) => `${i}${data}`),
  )
  const inflaters = made.mock.calls.map(call => call.result as InflateRaw)
  t.equal(inflaters.length, 101)
  t.equal(inflaters.filter(each => !each.destroyed).length, 1, "only the client's own remains")
})

t.test('closing works as without compression', async t => {
  const channel = fresh()
  const client = await deflating({ channels: [channel] })
  await node.append(channel, `"${'x'.repeat(5000)}"`)
  client.socket.close(4000, 'enough')
  t.equal((await once(client.socket, 'close'))[0], 4000)
  const own = await startMemoryNode({ WS_DEFLATE: '1' })
  t.teardown(() => own.close())
  const drained = await new WsClient(own, { channels: [channel] }, { perMessageDeflate: true }).connect({
    channels: [channel],
  })
  const ids = await own.append(channel, '"last"')
  await own.hub.connections.drain(10)
  t.equal(idOf(await drained.event()), ids[0])
  t.match(await drained.next(), { close: { code: 1001 } })
})

t.test('a message that inflates beyond the limit ends the connection', async t => {
  const client = await deflating({ channels: [] })
  client.socket.send(Buffer.alloc(50 * 1024 * 1024))
  t.equal((await once(client.socket, 'close'))[0], 1009)
  // One frame, so that only the inflated size is too large.
  const bomb = deflateRawSync(Buffer.alloc(10 * 1024 * 1024, ' '), { finishFlush: 2 }).subarray(0, -4)
  t.ok(bomb.length < 20_000)
  for (const [payload, code] of [
    [bomb, 1009],
    [Buffer.from('no deflate at all'), 1007],
  ] as const) {
    const raw = offer(PLAIN)
    await raw.until(/"open"/)
    raw.send(frame(0xc1, payload))
    await raw.ended
    t.equal(codeOf(raw.text), code)
  }
  const declined = offer(undefined)
  await declined.until(/"open"/)
  declined.send(frame(0xc1, deflateRawSync('{"ping":true}')))
  await declined.ended
  t.equal(codeOf(declined.text), 1002, 'a compressed message without negotiation is an error')
  const still = await deflating({ channels: [] })
  t.same(await still.ask({ ping: true }), { ok: {} }, 'the other connection continues')
})

t.test('S3: an offer is parsed in one pass, however long', async t => {
  // In quadratic time, this would take days.
  const long = `permessage-deflate; a${' '.repeat(5_000_000)}b`
  t.equal(offerToTake(long), undefined)
  t.equal(offerToTake(`${long}, permessage-deflate ; client_max_window_bits = 9`), 'permessage-deflate')
})

t.test('S3: an offer above 1 KiB is rejected, even without compression', async t => {
  for (const server of [node, plain]) {
    const raw = offer(`permessage-deflate; a${' '.repeat(60_000)}b`, server)
    await raw.ended
    t.match(raw.text, /^HTTP\/1.1 431 .*"code":"FW_HEADERS_TOO_LARGE"/s)
    const fits = offer(`permessage-deflate; a${' '.repeat(900)}b`, server)
    t.match(await fits.until(/"open"/), /^HTTP\/1.1 101 /)
  }
})
