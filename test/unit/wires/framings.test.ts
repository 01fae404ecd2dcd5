// The bytes of the streaming wires are valid for independent parsers.

import { randomBytes } from 'node:crypto'
import type { Writable } from 'node:stream'
import t from 'tap'
import * as library from 'ws'
import type { Framing } from '../../../services/broker/fanout/framing.ts'
import { ndjsonFraming } from '../../../services/wires/ndjson.ts'
import {
  PACKET_SEPARATOR,
  socketIoFraming,
  socketIoPollFraming,
} from '../../../services/wires/socket-io/framing.ts'
import {
  lineFraming,
  type PushRecord,
  readRecord,
  recordFraming,
} from '../../../services/wires/push/framing.ts'
import { pusherCursorFraming, pusherFraming } from '../../../services/wires/pusher/framing.ts'
import { sseFraming } from '../../../services/wires/sse/framing.ts'
import { wsDeflateFraming } from '../../../services/wires/ws/deflate.ts'
import { wsFraming } from '../../../services/wires/ws/framing.ts'
import { wsFrame, wsText } from '../../../services/wires/ws-frames.ts'
import { presenceOf } from '../../../services/broker/event/names.ts'
import { readChunks } from '../../contract/chunks.ts'
import { type SseBlock, SseParser } from '../../contract/clients.ts'
import { eventOf } from '../../support/events.ts'

const streamFraming = ndjsonFraming('stream')

const typed = (offset: number, data: string, type?: string) =>
  eventOf({ offset, time: 1790000000000 + offset, type }, data)

/** The parser and the inflater of the ws library, which its types omit. */
const { Receiver, PerMessageDeflate } = library as unknown as {
  Receiver: new (options: { isServer: boolean; maxPayload: number; extensions: object }) => Writable
  PerMessageDeflate: new (options: object) => { accept(parameters: object[]): void }
}

/** The text messages that the ws library reads from a server's bytes. */
async function receive(bytes: Buffer, extensions = {}): Promise<string[]> {
  const receiver = new Receiver({ isServer: false, maxPayload: 0, extensions })
  const messages: string[] = []
  receiver.on('message', (data: Buffer, isBinary: boolean) =>
    messages.push(isBinary ? 'binary' : String(data)),
  )
  await new Promise<void>((resolve, reject) => {
    receiver.on('error', reject)
    receiver.end(bytes, resolve)
  })
  return messages
}

const DATA = ['1', '"\u2028 ł 🙂"', '"a\\nb"', `"${'x'.repeat(300)}"`, `"${'x'.repeat(70_000)}"`, 'null']
const EVENTS = DATA.map((data, i) => typed(i + 1, data, i % 2 === 0 ? undefined : 'post'))
const TEXTS = EVENTS.map(event => event.json.toString())
const GAP = { from: { epoch: 'e1', offset: 3 }, to: { epoch: 'e2', offset: 7 } }

t.test('WebSocket frames are valid with each encoding of the length', async t => {
  for (const length of [0, 1, 124, 125, 126, 127, 255, 256, 65_534, 65_535, 65_536, 65_537, 1_000_000]) {
    const text = 'é'.repeat(length >> 1).padEnd(length - (length >> 1), 'x')
    const frame = wsText(text)
    const payload = Buffer.byteLength(text)
    t.equal(payload, length)
    t.equal(frame.length, payload + (payload < 126 ? 2 : payload < 65_536 ? 4 : 10))
    t.strictSame(await receive(frame), [text])
  }
  t.strictSame(wsFrame(0x9, Buffer.from('hi')), Buffer.from([0x89, 2, 0x68, 0x69]))
})

t.test('a WebSocket stretch is one message per event', async t => {
  t.strictSame(await receive(wsFraming.stretch(EVENTS, 0, EVENTS.length)), TEXTS)
  t.strictSame(await receive(wsFraming.stretch(EVENTS, 2, 4)), TEXTS.slice(2, 4))
  t.equal(wsFraming.stretch(EVENTS, 2, 2).length, 0)
  t.strictSame(await receive(wsFraming.opening('e1-0,e1-5')), ['{"open":{"cursor":"e1-0,e1-5"}}'])
  t.strictSame(await receive(wsFraming.gap('c', GAP, '')), [
    '{"gap":{"channel":"c","from":"e1-3","to":"e2-7"}}',
  ])
  t.strictSame(wsFraming.heartbeat, Buffer.from([0x89, 0]))
})

t.test(
  'Pusher: a gap in the joins and leaves of a channel does not move the cursor of the channel',
  async t => {
    const message = (channel: string) => ({
      event: 'fanwire:gap',
      channel: 'presence-c',
      data: `{"channel":"${channel}","from":"e1-3","to":"e2-7"}`,
    })
    const gapIn = async (channel: string) => {
      const [text = ''] = await receive(pusherCursorFraming.gap(channel, GAP, ''))
      return JSON.parse(text)
    }
    t.strictSame(await gapIn('presence-c'), { ...message('presence-c'), cursor: 'e2-7' })
    const log = presenceOf('presence-c')
    t.strictSame(await gapIn(log), message(log))
  },
)

t.test(
  'what a filter leaves out moves the cursor of a Pusher client that resumes, and of no other',
  async t => {
    const at = { epoch: 'e1', offset: 9 }
    const expected = { event: 'pusher_internal:cursor', channel: 'c', data: '{}', cursor: 'e1-9' }
    const [text = ''] = await receive(pusherCursorFraming.passed('c', at, ''))
    t.strictSame(JSON.parse(text), expected)
    t.equal(pusherFraming.passed('c', at, '').length, 0)
  },
)

t.test('a compressed WebSocket stretch is one message per event, each compressed once', async t => {
  const inflater = new PerMessageDeflate({})
  inflater.accept([{ server_no_context_takeover: [true] }])
  const extensions = { 'permessage-deflate': inflater }
  const noise = typed(7, `"${randomBytes(3 * 2 ** 20).toString('base64')}"`)
  const events = [...EVENTS, noise, typed(8, `"${'ł🙂'.repeat(50_000)}"`)]
  const texts = events.map(event => event.json.toString())
  for (const threshold of [1, 200, 100_000]) {
    const framing = wsDeflateFraming(threshold)
    const bytes = framing.stretch(events, 0, events.length)
    t.strictSame(await receive(bytes, extensions), texts)
    t.ok(
      framing.stretch([noise], 0, 1).equals(wsFraming.stretch([noise], 0, 1)),
      'large data is not compressed, because that would block the event loop',
    )
    for (const event of EVENTS) event.json.fill('?')
    const again = framing.stretch(events, 1, events.length)
    for (const [i, event] of EVENTS.entries()) event.json.set(Buffer.from(TEXTS[i] as string))
    const expected = texts.map((text, i) =>
      i < EVENTS.length && text.length < threshold ? '?'.repeat(Buffer.byteLength(text)) : text,
    )
    t.strictSame(await receive(again, extensions), expected.slice(1))
  }
})

t.test('a Socket.IO stretch is one packet per event, over both transports', async t => {
  const events = [...EVENTS, typed(7, '7', 'connect_error'), typed(8, '8', 'message')]
  const packets = events.map(({ json, type }) => `42["${type === 'post' ? type : 'message'}",${json}]`)
  t.strictSame(await receive(socketIoFraming.stretch(events, 0, events.length)), packets)
  t.strictSame(await receive(socketIoFraming.stretch(events, 2, 4)), packets.slice(2, 4))
  const polled = (from: number, to: number) => socketIoPollFraming.stretch(events, from, to).toString()
  t.strictSame(polled(0, events.length).split(PACKET_SEPARATOR), packets)
  t.equal(polled(2, 3), packets[2])
  const gap = '42["gap",{"channel":"c","from":"e1-3","to":"e2-7"}]'
  t.strictSame(await receive(socketIoFraming.gap('c', GAP, '')), [gap])
  t.equal(socketIoPollFraming.gap('c', GAP, '').toString(), gap)
  const close = { code: 4001, reason: 'a "reason"', retry: 250 }
  const [closing = ''] = await receive(socketIoFraming.closing(close))
  t.strictSame(JSON.parse(closing.slice(2)), ['close', close])
  t.equal(socketIoPollFraming.closing(close).toString(), closing)
})

t.test('a stream stretch is one line per event', async t => {
  const { plain } = streamFraming
  t.strictSame(plain.stretch(EVENTS, 0, EVENTS.length).toString().split('\n'), [...TEXTS, ''])
  t.equal(plain.opening('e1-0').toString(), '{"open":{"cursor":"e1-0"}}\n')
  t.equal(plain.gap('c', GAP, '').toString(), '{"gap":{"channel":"c","from":"e1-3","to":"e2-7"}}\n')
  t.equal(plain.heartbeat.toString(), '\n')
  const close = { code: 4001, reason: 'a "reason"', retry: 250 }
  t.strictSame(JSON.parse(plain.closing(close).toString()), { close })
})

t.test('H1: over HTTP/1.1 every frame is one chunk, and the last chunk means a permanent end', async t => {
  const latin1 = (bytes: Buffer) => bytes.toString('latin1')
  for (const { chunked, plain } of [sseFraming, streamFraming]) {
    const frames: ((framing: Framing) => Buffer)[] = [
      framing => framing.gap('c', GAP, 'e2-7'),
      framing => framing.heartbeat,
      framing => framing.stretch(EVENTS, 2, 3),
      framing => framing.stretch(EVENTS, 0, EVENTS.length),
      framing => framing.closing({ code: 1001, reason: 'the node is stopping', retry: 700 }),
    ]
    for (const frame of frames) {
      const expected = { data: [latin1(frame(plain))], ended: false }
      t.strictSame(readChunks(latin1(frame(chunked))), expected)
    }
    t.equal(
      chunked.stretch(EVENTS, 2, 2).length,
      0,
      'no events make no chunk, because an empty chunk ends the body',
    )
    t.equal(plain.stretch(EVENTS, 2, 2).length, 0)
    for (const [code, final] of [
      [1000, true],
      [1001, false],
      [1008, true],
      [1012, false],
      [1013, false],
      [4001, false],
      [4499, false],
      [4500, true],
    ] as const) {
      const closing = chunked.closing({ code, reason: 'so it is', retry: 0 })
      t.equal(readChunks(latin1(closing)).ended, final, `${code}`)
    }
  }
})

t.test('records for pushes name their events, and hold the lines of the wire', async t => {
  const read = (bytes: Buffer) => {
    const records: PushRecord[] = []
    for (let at = 0; at < bytes.length; at = records.at(-1)?.end ?? 0) records.push(readRecord(bytes, at))
    return records.map(({ event, line }) => [event, line.toString()])
  }
  const events = EVENTS.map(({ offset }, i) => [
    { channel: 'c', id: `e1-${offset}`, erased: false },
    `${TEXTS[i]}\n`,
  ])
  t.strictSame(read(recordFraming.stretch(EVENTS, 0, EVENTS.length)), events)
  t.strictSame(read(recordFraming.stretch(EVENTS, 2, 4)), events.slice(2, 4))
  t.equal(recordFraming.stretch(EVENTS, 2, 2).length, 0)
  const { plain } = lineFraming
  const close = { code: 4001, reason: 'so it is', retry: 250 }
  for (const frame of [
    (framing: Framing) => framing.opening('e1-0'),
    (framing: Framing) => framing.gap('c', GAP, ''),
    (framing: Framing) => framing.heartbeat,
    (framing: Framing) => framing.closing(close),
  ]) {
    t.strictSame(read(frame(recordFraming)), [[undefined, frame(plain).toString()]])
  }
})

/** A stream with every kind of message, and its expected blocks. */
function sseStream(): { bytes: Buffer; expected: SseBlock[] } {
  const { plain } = sseFraming
  const opening = plain.opening('e1-0')
  const events = plain.stretch(EVENTS, 0, EVENTS.length)
  const gap = plain.gap('c', GAP, 'e2-7')
  const bytes = Buffer.concat([opening, plain.heartbeat, events, gap, plain.heartbeat])
  const expected: SseBlock[] = [
    { event: 'fanwire:open', data: '{"open":{"cursor":"e1-0"}}', lastEventId: 'e1-0' },
    ...EVENTS.map((event, i) => ({
      event: event.type ?? 'message',
      data: TEXTS[i] ?? '',
      lastEventId: `e1-${event.offset}`,
    })),
    { event: 'gap', data: '{"channel":"c","from":"e1-3","to":"e2-7"}', lastEventId: 'e2-7' },
  ]
  return { bytes, expected }
}

t.test('an SSE stretch is one block per event, wherever the network cuts it', async t => {
  const { bytes, expected } = sseStream()
  for (const size of [1, 7, 1000, bytes.length]) {
    const blocks: SseBlock[] = []
    const parser = new SseParser(block => blocks.push(block))
    for (let at = 0; at < bytes.length; at += size) parser.write(bytes.subarray(at, at + size))
    t.strictSame(blocks, expected)
    t.strictSame(parser.comments, ['', ''])
    t.equal(parser.retries.length, 1)
  }
})

t.test('H2: wherever an SSE connection is cut, no id is ahead of its data', async t => {
  const { bytes, expected } = sseStream()
  const text = bytes.toString('latin1')
  const ends = [...text.matchAll(/\n\n/g)].map(({ index }) => index + 2)
  t.equal(ends.length, expected.length, 'blank lines occur only after blocks')
  t.notMatch(
    text,
    /^id: .*\n(?!\n|retry: \d+\n\n)/m,
    'some clients apply the id as soon as its line has arrived',
  )
  let given = 0
  let last = ''
  const parser = new SseParser(block => {
    given++
    last = block.lastEventId
  })
  for (let at = 0; at < bytes.length; at++) {
    parser.write(bytes.subarray(at, at + 1))
    const whole = ends.filter(end => end <= at + 1).length
    if (given !== whole) t.fail(`${given} blocks of ${whole} after ${at + 1} bytes`)
    if (parser.lastEventId !== last || last !== (expected[whole - 1]?.lastEventId ?? ''))
      t.fail(`the id ${parser.lastEventId} after ${at + 1} bytes`)
  }
  t.equal(given, expected.length)
})

t.test('the ids of an SSE stretch can name several channels', async t => {
  const blocks: SseBlock[] = []
  const parser = new SseParser(block => blocks.push(block))
  parser.write(sseFraming.plain.stretch(EVENTS, 1, 3, event => `x-9,e1-${event.offset}`))
  t.strictSame(
    blocks.map(block => block.lastEventId),
    ['x-9,e1-2', 'x-9,e1-3'],
  )
})

t.test('H3: an SSE goodbye is a retry hint and a comment, not an event', async t => {
  const parser = new SseParser(() => t.fail('an event'))
  parser.write(sseFraming.plain.closing({ code: 1001, reason: 'the node is stopping', retry: 700 }))
  t.strictSame(parser.retries, [700])
  t.strictSame(parser.comments, [' 1001 the node is stopping'])
})
