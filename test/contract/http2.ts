// Clients of the wires over HTTP/2: the suite in wires.ts reads through them, with TLS and without.

import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type IncomingHttpHeaders,
  type Settings as Http2Settings,
} from 'node:http2'
import { join } from 'node:path'
import {
  type Address,
  NdjsonClient,
  type Open,
  type Opened,
  RefreshClient,
  Refused,
  SseClient,
  type Target,
  type Wire,
} from './clients.ts'
import { temporaryFolder } from '../support/tools.ts'

/** A self-signed certificate for localhost, 127.0.0.1 and one more name, made by openssl. */
export interface TestCertificate {
  readonly cert: string
  readonly key: string
}

/** Creates a certificate in `folder`. */
export function makeCertificate(
  folder = temporaryFolder(),
  name = 'localhost',
  algorithm: 'ec' | 'rsa' = 'ec',
): TestCertificate {
  mkdirSync(folder, { recursive: true })
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
  const about = [
    '-subj',
    `/CN=${name}`,
    '-addext',
    `subjectAltName=DNS:${name},DNS:localhost,IP:127.0.0.1`,
    '-days',
    '2',
  ]
  const detail = algorithm === 'ec' ? 'ec_paramgen_curve:prime256v1' : 'rsa_keygen_bits:2048'
  const kind = ['-newkey', algorithm, '-pkeyopt', detail, '-nodes']
  execFileSync('openssl', ['req', '-x509', ...kind, '-keyout', key, '-out', cert, ...about], {
    stdio: 'ignore',
  })
  return { cert, key }
}

/** An HTTP/2 session: with prior knowledge where the node has a port for that, otherwise over TLS. */
export async function openSession(node: Address, settings: Http2Settings = {}): Promise<ClientHttp2Session> {
  const session =
    node.h2cPort === undefined
      ? connect(`https://localhost:${node.port}`, { rejectUnauthorized: false, settings })
      : connect(`http://127.0.0.1:${node.h2cPort}`, { settings })
  session.on('error', () => {})
  await once(session, 'connect')
  return session
}

/** Destroys a session outside of Node's own callbacks: within one, that corrupts memory (Node 20). */
export function destroy(session: ClientHttp2Session): void {
  setImmediate(() => session.destroy())
}

/** Sends one request on a session. Returns the whole response. */
export async function ask(
  session: ClientHttp2Session,
  headers: Record<string, string>,
  body?: string | Buffer,
): Promise<{ headers: IncomingHttpHeaders; status: number | undefined; body: string }> {
  const stream = session.request(headers, { endStream: body === undefined })
  if (body !== undefined) stream.end(body)
  const answered = await answerTo(stream)
  return { headers: answered, status: answered[':status'], body: await textOf(stream) }
}

/** The head of the response. Raises if the stream ends without one, which Node reports only by 'close'. */
export async function answerTo(
  stream: ClientHttp2Stream,
): Promise<IncomingHttpHeaders & { ':status'?: number }> {
  return new Promise((resolve, reject) => {
    stream.once('response', resolve)
    stream.once('error', reject)
    stream.once('close', () => reject(new Closed()))
  })
}

/** An HTTP/2 stream was closed before its response. */
export class Closed extends Error {
  readonly code = 'ERR_STREAM_PREMATURE_CLOSE'

  constructor() {
    super('the stream was closed without an answer')
  }
}

async function textOf(stream: ClientHttp2Stream): Promise<string> {
  const pieces: Buffer[] = []
  for await (const piece of stream) pieces.push(piece)
  return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(pieces))
}

/** A streaming GET on the session; raises Refused for any status but 200. */
async function openOn(
  session: ClientHttp2Session,
  path: string,
  headers: Record<string, string>,
): Promise<ClientHttp2Stream> {
  const stream = session.request({ ':path': path, ...headers })
  stream.on('error', () => {})
  const { ':status': status = 0 } = await answerTo(stream)
  if (status === 200) return stream
  throw new Refused(status, await textOf(stream))
}

/** A streaming GET whose session is destroyed when it is disconnected or rejected. */
async function hold(
  session: ClientHttp2Session,
  path: string,
  headers: Record<string, string>,
): Promise<Opened> {
  try {
    return { asked: { destroy: () => destroy(session) }, answer: await openOn(session, path, headers) }
  } catch (error) {
    destroy(session)
    throw error
  }
}

/** Opens a stream as clients.ts does over HTTP/1.1, but on its own HTTP/2 session. */
export const openHttp2: Open = async (node, path, headers = {}) => {
  const session = await openSession(node, { enablePush: false })
  const opened = await hold(session, path, headers)
  // The session has no other stream.
  opened.answer.once('close', () => destroy(session))
  return opened
}

interface Pushed {
  readonly body: string
  readonly promised: IncomingHttpHeaders
  readonly headers: IncomingHttpHeaders
}

/** Receives pushes. An event counts once the held stream has announced it, and its response has arrived. */
export class PushClient extends NdjsonClient {
  /** Everything that was pushed, by path. */
  readonly pushed = new Map<string, Pushed>()
  /** Number of events received as lines of the held stream. */
  inline = 0
  #session: ClientHttp2Session | undefined
  readonly #settings: Http2Settings
  readonly #waiting = new Map<string, () => void>()
  readonly #paused = new Set<ClientHttp2Stream>()
  #isPaused = false
  #turn: Promise<void> = Promise.resolve()
  #cut = false

  constructor(target: Target, settings: Http2Settings = {}) {
    super(target)
    this.#settings = settings
  }

  async begin(node: Address, target: Target, headers: Record<string, string> = {}): Promise<this> {
    return await this.connect(node, 'push', target, headers, async (node, path, headers = {}) => {
      const session = await openSession(node, this.#settings)
      this.#session = session
      session.on('stream', (stream, promised) => void this.#take(stream, promised))
      return hold(session, path, headers)
    })
  }

  async #take(stream: ClientHttp2Stream, promised: IncomingHttpHeaders): Promise<void> {
    stream.on('error', () => {})
    const path = String(promised[':path'])
    const pieces: Buffer[] = []
    let headers: IncomingHttpHeaders = {}
    stream.on('push', answered => {
      headers = answered
    })
    stream.on('data', piece => pieces.push(piece))
    if (this.#isPaused) {
      stream.pause()
      this.#paused.add(stream)
    }
    let whole = false
    stream.once('end', () => {
      whole = true
    })
    await new Promise(resolve => stream.once('close', resolve))
    this.#paused.delete(stream)
    // The client fetches the event of a lost push, as docs/wires/push.md says.
    const body = whole && stream.rstCode === 0 ? Buffer.concat(pieces).toString() : await this.#fetch(path)
    this.pushed.set(path, { body, promised, headers })
    this.#waiting.get(path)?.()
  }

  async #fetch(path: string): Promise<string> {
    const pieces: Buffer[] = []
    try {
      const session = this.#session as ClientHttp2Session
      for await (const piece of await openOn(session, path, {})) pieces.push(piece as Buffer)
    } catch {
      // The session has ended, and the client with it.
    }
    return Buffer.concat(pieces).toString()
  }

  /** Items keep the order of the held stream's lines. */
  protected override handle(
    object: { channel?: string; pushed?: { channel: string; id: string } },
    line: string,
  ) {
    const { pushed } = object
    this.#turn = this.#turn.then(async () => {
      if (pushed === undefined) {
        if (object.channel !== undefined) this.inline++
        return super.handle(object, line)
      }
      const channel = pushed.channel.replace(/[/#?]/g, encodeURIComponent)
      const path = `/v1/channels/${channel}/events/${pushed.id}`
      if (!this.pushed.has(path) && !this.#cut) {
        await new Promise<void>(resolve => this.#waiting.set(path, resolve))
      }
      this.inbox.put({ item: { event: this.pushed.get(path)?.body ?? '' } })
    })
  }

  protected override ended(): void {
    void this.#turn.then(() => super.ended())
    if (this.#cut) this.#release()
  }

  #release(): void {
    for (const resolve of this.#waiting.values()) resolve()
  }

  override pause(): void {
    this.#isPaused = true
    super.pause()
  }

  override resume(): void {
    this.#isPaused = false
    super.resume()
    for (const stream of this.#paused) stream.resume()
  }

  override cut(): void {
    this.#cut = true
    if (this.#session !== undefined) destroy(this.#session)
    this.#release()
  }
}

/** `over`: the protocol of the connected nodes. */
export function http2Wires(over: string): readonly Wire[] {
  const streams = { begin: 'latest', streams: true, over } as const
  return [
    {
      ...streams,
      name: 'sse',
      plans: true,
      connect: (node, target) => new SseClient(target).connect(node, 'sse', target, {}, openHttp2),
    },
    {
      ...streams,
      name: 'stream',
      plans: true,
      connect: (node, target) => new NdjsonClient(target).connect(node, 'stream', target, {}, openHttp2),
    },
    {
      ...streams,
      name: 'refresh',
      streams: false,
      connect: (node, target) => new RefreshClient(node, target, openHttp2).connect(),
    },
    { ...streams, name: 'push', connect: (node, target) => new PushClient(target).begin(node, target) },
  ]
}
