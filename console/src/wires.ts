// A minimal reader for each wire, for the workbench: events, bytes and cursor. Each ends when its signal is aborted, and
// raises when its connection breaks.

import { type FanwireEvent, type Gap, lines, send, token } from './api.ts'
import { isToken } from '../../client/credentials.ts'
import { pause } from '../../client/pause.ts'

export interface Sink {
  event(event: FanwireEvent): void
  gap(gap: Gap): void
  /** Received bytes, without headers. */
  bytes(count: number): void
  open(): void
  /** Where the reader resumes. */
  cursor: string
}

export type Fault = 'none' | 'no-upgrades' | 'buffers'

export interface Reading {
  readonly channel: string
  readonly sink: Sink
  readonly fault: Fault
  readonly signal: AbortSignal
}

type ReadWire = (reading: Reading) => Promise<void>

/** A buffering proxy forwards a response in pieces of this size. */
const BUFFER_BYTES = 4096
const POLL_MS = 1000

const queryOf = ({ channel, sink }: Reading, also = '') =>
  `channel=${encodeURIComponent(channel)}&cursor=${encodeURIComponent(sink.cursor)}${also}`

interface Answer {
  readonly events: readonly FanwireEvent[]
  readonly gaps?: readonly Gap[]
  readonly cursor: string
}

async function takeAnswer(response: Response, sink: Sink): Promise<void> {
  const text = await response.text()
  sink.bytes(text.length)
  sink.open()
  const { events, gaps = [], cursor } = JSON.parse(text) as Answer
  for (const gap of gaps) sink.gap(gap)
  for (const event of events) sink.event(event)
  sink.cursor = cursor
}

const poll: ReadWire = async reading => {
  const { sink, signal } = reading
  while (!signal.aborted) {
    await takeAnswer(await send(`/v1/poll?${queryOf(reading)}`, { signal }), sink)
    await pause(POLL_MS, signal)
  }
}

const longPoll: ReadWire = async reading => {
  const { sink, signal } = reading
  // The first request is short, and returns the cursor to begin at.
  for (let wait = 1; !signal.aborted; wait = 25) {
    await takeAnswer(await send(`/v1/long-poll?${queryOf(reading, `&wait=${wait}`)}`, { signal }), sink)
  }
}

/** The lines of a stream; behind a buffering proxy, in pieces of 4 KiB. */
async function* streamed(
  path: string,
  { sink, signal, fault }: Reading,
  accept: string,
): AsyncGenerator<string> {
  const response = await send(path, { signal, headers: { accept } })
  let held: string[] = []
  let size = 0
  for await (const line of lines(response, count => sink.bytes(count))) {
    if (fault !== 'buffers') {
      yield line
      continue
    }
    held.push(line)
    size += line.length
    if (size < BUFFER_BYTES) continue
    yield* held
    held = []
    size = 0
  }
}

/** A line or message of stream, ws or push. */
function takeObject(object: Record<string, unknown>, sink: Sink): void {
  if (object.open !== undefined) {
    sink.cursor = (object.open as { cursor: string }).cursor
    sink.open()
  } else if (object.gap !== undefined) {
    const gap = object.gap as Gap
    sink.gap(gap)
    sink.cursor = gap.to
  } else if (object.passed !== undefined) {
    sink.cursor = (object.passed as { cursor: string }).cursor
  } else if (object.channel !== undefined && 'data' in object) {
    const event = object as unknown as FanwireEvent
    sink.event(event)
    if (event.id !== undefined) sink.cursor = event.id
  }
}

const stream: ReadWire = async reading => {
  for await (const line of streamed(`/v1/stream?${queryOf(reading)}`, reading, 'application/x-ndjson')) {
    if (line !== '') takeObject(JSON.parse(line), reading.sink)
  }
}

/** Uses fetch: EventSource can't send a token. */
const sse: ReadWire = async reading => {
  const { sink } = reading
  let type = ''
  let data = ''
  for await (const line of streamed(`/v1/sse?${queryOf(reading)}`, reading, 'text/event-stream')) {
    if (line.startsWith('event:')) type = line.slice(6).trim()
    else if (line.startsWith('data:')) data = line.slice(5).trim()
    else if (line === '' && data !== '') {
      const object = JSON.parse(data)
      takeObject(type === 'gap' ? { gap: object } : object, sink)
      type = data = ''
    }
  }
}

const push: ReadWire = async reading => {
  const { sink, signal } = reading
  for await (const line of streamed(`/v1/push?${queryOf(reading)}`, reading, 'application/x-ndjson')) {
    if (line === '') continue
    const object = JSON.parse(line)
    if (object.pushed === undefined) takeObject(object, sink)
    else {
      const { channel, id } = object.pushed
      const response = await send(`/v1/channels/${encodeURIComponent(channel)}/events/${id}`, { signal })
      takeObject(await response.json(), sink)
    }
  }
}

/** A browser does not say why. */
class NotOpened extends Error {
  override readonly message = 'the WebSocket could not be opened'
}

/** The messages of a WebSocket. Raises when the socket closes before the signal is aborted; NotOpened if it never opened. */
async function* messages(
  url: string,
  signal: AbortSignal,
  opened: (socket: WebSocket) => void,
): AsyncGenerator<string> {
  const socket = new WebSocket(url)
  const waiting: string[] = []
  let wake = () => {}
  let ended: Error | undefined
  let isOpened = false
  socket.onopen = () => {
    isOpened = true
    opened(socket)
  }
  socket.onmessage = ({ data }) => {
    waiting.push(data)
    wake()
  }
  socket.onclose = ({ code, reason }) => {
    ended = isOpened ? new Error(`closed: ${code} ${reason}`) : new NotOpened()
    wake()
  }
  const close = () => socket.close()
  signal.addEventListener('abort', close)
  try {
    while (ended === undefined || waiting.length > 0) {
      const message = waiting.shift()
      if (message !== undefined) yield message
      else await new Promise<void>(resolve => (wake = resolve))
    }
    if (!signal.aborted) throw ended
  } finally {
    signal.removeEventListener('abort', close)
    close()
  }
}

/** The credentials in the form of the messages of ws and socket.io; undefined without any. */
function auth(): { token: string } | { key: string } | undefined {
  const text = token.get()
  if (text === '') return undefined
  return isToken(text) ? { token: text } : { key: text }
}

const address = (path: string) => `${location.origin.replace(/^http/, 'ws')}${path}`

function requireUpgrades(fault: Fault): void {
  if (fault === 'no-upgrades') throw new Error('the proxy refused the upgrade')
}

const ws: ReadWire = async reading => {
  const { sink, signal, fault, channel } = reading
  requireUpgrades(fault)
  const begin = (socket: WebSocket) => {
    const credentials = auth()
    if (credentials !== undefined) socket.send(JSON.stringify({ ref: 0, auth: credentials }))
    socket.send(JSON.stringify({ ref: 1, subscribe: channel, cursor: sink.cursor }))
  }
  for await (const message of messages(address('/v1/ws'), signal, begin)) {
    sink.bytes(message.length)
    const object = JSON.parse(message)
    if (object.error !== undefined) throw new Error(object.error.message)
    if (object.ref === 1) takeObject({ open: object.ok }, sink)
    else if (object.open === undefined) takeObject(object, sink)
  }
}

const SOCKET_IO = '/socket.io/'

/** Raises if the node does not accept Socket.IO at all. */
async function requireSocketIo(signal: AbortSignal): Promise<void> {
  const { status } = await fetch(SOCKET_IO, { signal })
  if (status === 404) throw new Error('off on this node: FANWIRE_SOCKET_IO=1 switches it on')
}

/** Writes Engine.IO and Socket.IO packets directly: `0` open, `2` ping, `40` connect, `42` event, `43` acknowledgement. */
async function readSocketIo(reading: Reading): Promise<void> {
  const { sink, signal, fault, channel } = reading
  requireUpgrades(fault)
  let socket: WebSocket | undefined
  const url = address(`${SOCKET_IO}?EIO=4&transport=websocket`)
  for await (const packet of messages(url, signal, opened => (socket = opened))) {
    sink.bytes(packet.length)
    if (packet.startsWith('0')) {
      socket?.send(`40${JSON.stringify(auth() ?? {})}`)
    } else if (packet === '2') socket?.send('3')
    else if (packet.startsWith('44')) throw new Error(JSON.parse(packet.slice(2)).message)
    else if (packet.startsWith('40')) {
      socket?.send(`420${JSON.stringify(['subscribe', { channel, cursor: sink.cursor }])}`)
    } else if (packet.startsWith('430')) {
      const [answer] = JSON.parse(packet.slice(3))
      if (answer.error !== undefined) throw new Error(answer.error.message)
      takeObject({ open: answer.ok ?? answer }, sink)
    } else if (packet.startsWith('42')) {
      const [name, object] = JSON.parse(packet.slice(2))
      takeObject(name === 'gap' ? { gap: object } : object, sink)
    }
  }
}

const socketIo: ReadWire = reading =>
  readSocketIo(reading).catch(async error => {
    if (error instanceof NotOpened) await requireSocketIo(reading.signal)
    throw error
  })

/** Reads the page like a browser. The URL that it reloads contains the cursor. */
const refresh: ReadWire = async reading => {
  const { sink, signal } = reading
  let path = `/v1/refresh?${queryOf(reading, '&every=1')}`
  while (!signal.aborted) {
    const response = await send(path, { signal })
    const text = await response.text()
    sink.bytes(text.length)
    sink.open()
    const page = new DOMParser().parseFromString(text, 'text/html')
    const links = [...page.querySelectorAll('li.new .about a')].reverse()
    for (const link of links) {
      const event = await send(new URL(link.getAttribute('href') ?? '', `${location.origin}/v1/`).pathname, {
        signal,
      })
      sink.event(await event.json())
    }
    const next =
      page.querySelector('meta[http-equiv=refresh]')?.getAttribute('content')?.split('url=')[1] ?? ''
    path = new URL(next, `${location.origin}/v1/refresh`).href
    sink.cursor = new URL(path).searchParams.get('cursor') ?? sink.cursor
    await pause(POLL_MS, signal)
  }
}

export const WIRES: Readonly<Record<string, ReadWire>> = {
  poll,
  'long-poll': longPoll,
  sse,
  stream,
  ws,
  'socket.io': socketIo,
  push,
  refresh,
}
