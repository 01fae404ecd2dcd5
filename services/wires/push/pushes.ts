// Pushed responses (RFC 9113 section 8.4): events as separate resources, beside the stream that announces them.

import { constants, type OutgoingHttpHeaders, type Http2Session, type ServerHttp2Stream } from 'node:http2'
import { Writable } from 'node:stream'
import { caching, EVENT_TYPE, tagOfEvent } from '../../http/conditional.ts'
import { MAX_STREAMS } from '../../http/sessions.ts'
import { type PushedEvent, readRecord } from './framing.ts'

/** The maximum concurrent pushes on one session: half of the client's limit, since its requests need the other half. */
const MAX_OPEN = MAX_STREAMS / 2
/** A push may begin while those in flight have fewer bytes than this. */
const MAX_BYTES = 512 * 1024
const NOTHING = Buffer.alloc(0)

/**
 * The pushes of one session. A push is in flight until the client has answered a PING sent after it, since the client
 * refuses pushes beyond its limit. Only half of the limit is used, because clients count differently than servers (Node's
 * includes its own requests).
 */
class Pushes {
  readonly #session: Http2Session
  #open = 0
  #bytes = 0
  /** Pushes that were sent, and not followed by a PING yet. */
  #sent = { pushes: 0, bytes: 0 }
  #pinging = false
  readonly #waiting = new Set<() => void>()

  constructor(session: Http2Session) {
    this.#session = session
  }

  /** The maximum concurrent pushes; 0 if the client accepts none. */
  static limit({ remoteSettings }: Http2Session): number {
    const { enablePush, maxConcurrentStreams = Number.POSITIVE_INFINITY } = remoteSettings
    return enablePush === false ? 0 : Math.min(MAX_OPEN, Math.floor(maxConcurrentStreams / 2))
  }

  get full(): boolean {
    return this.#open >= Pushes.limit(this.#session) || this.#bytes >= MAX_BYTES
  }

  opened(bytes: number): void {
    this.#open++
    this.#bytes += bytes
  }

  /** Called when the last byte was sent, or the client does not want the rest. */
  sent(bytes: number): void {
    this.#sent.pushes++
    this.#sent.bytes += bytes
    if (this.#pinging) return
    this.#pinging = true
    setImmediate(() => this.#ping())
  }

  /** Calls back once, when there may be room. */
  wait(run: () => void): void {
    this.#waiting.add(run)
  }

  forget(run: () => void): void {
    this.#waiting.delete(run)
  }

  #ping(): void {
    const { pushes, bytes } = this.#sent
    this.#sent = { pushes: 0, bytes: 0 }
    const answered = () => {
      this.#open -= pushes
      this.#bytes -= bytes
      const waiting = [...this.#waiting]
      this.#waiting.clear()
      for (const each of waiting) each()
      if (this.#sent.pushes > 0) this.#ping()
      else this.#pinging = false
    }
    // If no PING can be sent, the session ends, and so do those that wait.
    if (this.#session.destroyed || !this.#session.ping(answered)) answered()
  }
}

const pushesOf = new WeakMap<Http2Session, Pushes>()

function pushesOn(session: Http2Session): Pushes {
  const pushes = pushesOf.get(session) ?? new Pushes(session)
  pushesOf.set(session, pushes)
  return pushes
}

/** A channel's name as a path segment (RFC 3986 section 3.3): most of its characters need no encoding there. */
function inPath(channel: string): string {
  return channel.replace(/[/#?]/g, encodeURIComponent)
}

/**
 * Accepts whole records (framing.ts). It pushes the events in order, and writes a line `{"pushed":{"channel","id"}}`
 * for each to the held stream, so that a client can fetch an event whose push it refused or lost; other lines go out
 * unchanged. A client that accepts no more pushes blocks the sink, like one that accepts no more bytes. Events that
 * can't be pushed (any more) go out as lines.
 */
export class PushSink extends Writable {
  readonly #stream: ServerHttp2Stream
  /** A closed stream does not name its session any more. */
  readonly #session: Http2Session | undefined
  /** Headers of every pushed response, and of every promised request. */
  readonly #headers: OutgoingHttpHeaders
  readonly #request: OutgoingHttpHeaders
  readonly #shared: boolean
  readonly #erasable: (channel: string) => boolean
  readonly #open = new Set<ServerHttp2Stream>()
  #go: (() => void) | undefined

  /** `shared`: shared caches may store pushed events. `erasable`: but only briefly for that channel. */
  constructor(
    stream: ServerHttp2Stream,
    headers: OutgoingHttpHeaders,
    request: OutgoingHttpHeaders,
    shared: boolean,
    erasable: (channel: string) => boolean,
  ) {
    super({ decodeStrings: false })
    this.#stream = stream
    this.#session = stream.session
    this.#headers = headers
    this.#request = request
    this.#shared = shared
    this.#erasable = erasable
    // The stream's own events report most errors. Destroying it within Node's own call corrupts memory (Node 20).
    this.on('error', () => setImmediate(() => stream.destroy()))
    stream.once('close', () => this.destroy())
  }

  override _write(records: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#try(() => this.#take(records, 0, done))
  }

  override _final(done: () => void): void {
    this.#stream.end(done)
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const { aborted, rstCode } = this.#stream
    if (this.#go !== undefined && this.#session !== undefined) pushesOf.get(this.#session)?.forget(this.#go)
    // Aborts the pushes of a client that is gone or was cut. One that was closed normally still receives those in flight.
    for (const pushed of aborted && rstCode !== constants.NGHTTP2_INTERNAL_ERROR ? this.#open : []) {
      pushed.close(constants.NGHTTP2_CANCEL)
      pushed.destroy()
    }
    done(error)
  }

  /** An error raised here ends the stream: nothing else would catch it. */
  #try(run: () => void): void {
    try {
      run()
    } catch (error) {
      this.destroy(error as Error)
    }
  }

  #take(records: Buffer, from: number, done: (error?: Error | null) => void): void {
    const { session } = this.#stream
    if (session === undefined || this.#stream.destroyed) return done()
    const pushes = pushesOn(session)
    const written: Buffer[] = []
    const write = (then: (error?: Error | null) => void) =>
      this.#stream.write(written.length === 0 ? NOTHING : Buffer.concat(written), then)
    let at = from
    while (at < records.length) {
      const { event, line, end } = readRecord(records, at)
      if (event === undefined || !canPush(this.#stream)) written.push(line)
      else if (!pushes.full) {
        const { channel, id } = event
        this.#push(pushes, event, line.subarray(0, -1))
        written.push(Buffer.from(`{"pushed":{"channel":"${channel}","id":"${id}"}}\n`))
      } else {
        this.#go = () => {
          this.#go = undefined
          this.#try(() => this.#take(records, at, done))
        }
        pushes.wait(this.#go)
        if (written.length > 0) write(() => {})
        return
      }
      at = end
    }
    write(done)
  }

  #push(pushes: Pushes, { channel, id, erased }: PushedEvent, body: Buffer): void {
    pushes.opened(body.length)
    const path = `/v1/channels/${inPath(channel)}/events/${id}`
    try {
      this.#stream.pushStream({ ...this.#request, ':path': path }, (error, pushed) => {
        // For example, the session has no more streams. The client can fetch the event that the line names.
        if (error) return pushes.sent(body.length)
        this.#open.add(pushed)
        // The client may refuse it.
        pushed.on('error', () => {})
        pushed.once('close', () => {
          this.#open.delete(pushed)
          pushes.sent(body.length)
        })
        if (pushed.destroyed || pushed.closed) return
        try {
          pushed.respond({
            ':status': 200,
            ...this.#headers,
            ...caching(tagOfEvent(id, erased), this.#shared, this.#erasable(channel)),
            'content-type': EVENT_TYPE,
            'content-length': body.length,
          })
          pushed.end(body)
        } catch (error) {
          pushed.destroy()
          this.destroy(error as Error)
        }
      })
    } catch {
      // The session was ended within this turn of the event loop.
      pushes.sent(body.length)
    }
  }
}

/** Whether the client accepts pushes on this stream, now. */
export function canPush({ pushAllowed, session }: ServerHttp2Stream): boolean {
  return pushAllowed && session !== undefined && Pushes.limit(session) > 0
}
