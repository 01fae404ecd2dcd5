// The body of a request, read at the reader's pace.

import { Http2ServerRequest } from 'node:http2'
import type { Readable } from 'node:stream'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { PatienceTimer } from '../broker/patience.ts'
import { FanwireError } from '../errors.ts'
import { ByteAccumulator } from './byte-accumulator.ts'

/** How long a body may take, ms: between two pieces, and in total. */
export interface BodyTimes {
  readonly idle: number
  readonly total: number
}

/** The times for bodies that are read as a whole. */
export const BODY_TIMES: BodyTimes = { idle: 30_000, total: 300_000 }

const NOTHING = Buffer.alloc(0)

/** Makes the routes of this scope read bodies of any type themselves. */
export function takeBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
}

export class RequestBody {
  readonly #source: Readable
  #ended: boolean
  #stopped = false
  #failure: FanwireError | undefined
  #wake = () => {}
  readonly #onReadable = () => this.#wake()
  readonly #onEnd = () => {
    // Over HTTP/2, a cut body ends like any other, after an event that reports the cut.
    if (this.#failure === undefined) this.#ended = true
    this.#wake()
  }
  /** Every body closes, usually after its end. */
  readonly #onGone = () => {
    if (this.#ended) return
    this.#failure ??= new FanwireError('FW_BAD_REQUEST', 'the request ended before its body did')
    this.#wake()
  }

  constructor(source: Readable) {
    this.#source = source
    this.#ended = source.readableEnded
    source.on('readable', this.#onReadable)
    source.on('end', this.#onEnd)
    source.on('error', this.#onGone)
    source.on('aborted', this.#onGone)
    source.on('close', this.#onGone)
    if (source.destroyed && !this.#ended) this.#onGone()
  }

  /**
   * The bytes that have arrived; waits for some. Undefined at the end or after `stop`. Raises FW_BAD_REQUEST if cut.
   */
  async next(): Promise<Buffer | undefined> {
    for (;;) {
      if (this.#stopped) return undefined
      const chunk: Buffer | string | null = this.#source.read()
      if (chunk !== null) return typeof chunk === 'string' ? Buffer.from(chunk) : chunk
      if (this.#ended) return undefined
      if (this.#failure !== undefined) throw this.#failure
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
  }

  /** The whole body. Raises FW_TOO_LARGE with `tooLarge` beyond `limit` bytes, FW_REQUEST_TIMEOUT, FW_BAD_REQUEST. */
  async whole(limit: number, tooLarge: string, times: BodyTimes): Promise<Buffer> {
    const late = () => this.#fail(new FanwireError('FW_REQUEST_TIMEOUT', 'the body did not arrive in time'))
    const idle = new PatienceTimer(times.idle, late)
    const total = new PatienceTimer(times.total, late)
    try {
      const bytes = new ByteAccumulator()
      for (let chunk = await this.next(); chunk !== undefined; chunk = await this.next()) {
        bytes.add(chunk)
        if (bytes.length > limit) throw new FanwireError('FW_TOO_LARGE', tooLarge)
        idle.refresh()
      }
      return bytes.take()
    } finally {
      idle.clear()
      total.clear()
    }
  }

  /** Ends the reading: `next` returns undefined. */
  stop(): void {
    this.#stopped = true
    this.#wake()
  }

  #fail(error: FanwireError): void {
    this.#failure ??= error
    this.#wake()
  }

  /**
   * Discards the rest: a client that sends before it reads should see its response, not a reset. `onData` is called for
   * each piece.
   */
  discard(onData = () => {}): void {
    this.stop()
    this.#source.off('readable', this.#onReadable)
    if (this.#ended || this.#source.destroyed) return
    this.#source.on('data', onData)
    this.#source.resume()
  }
}

/**
 * The whole body of a request; empty if it has none. Raises FW_TOO_LARGE with the message `tooLarge` beyond `limit`
 * bytes, FW_REQUEST_TIMEOUT, FW_BAD_REQUEST, and FW_UNAUTHORIZED if the credentials ended while it arrived.
 */
export async function wholeBody(
  request: FastifyRequest,
  limit: number,
  tooLarge: string,
  times = BODY_TIMES,
): Promise<Buffer> {
  if (request.body === undefined || request.body === null) return NOTHING
  const there = arrived(request)
  const length = there?.length ?? Number(request.headers['content-length'] ?? 0)
  if (there !== undefined && length <= limit) return there
  const body = new RequestBody(request.body as Readable)
  try {
    if (length > limit) throw new FanwireError('FW_TOO_LARGE', tooLarge)
    const bytes = await body.whole(limit, tooLarge, times)
    // A body may take minutes.
    request.server.fanwire.access.requireCurrent(request.identity)
    return bytes
  } catch (error) {
    body.discard()
    throw error
  }
}

/**
 * A body that arrived with its head, as small ones do, so that no listener and no timeout are needed. Undefined if it is
 * incomplete.
 */
function arrived({ raw }: FastifyRequest): Buffer | undefined {
  // HTTP/2 reports a cut body as complete.
  if (raw instanceof Http2ServerRequest || !raw.complete || raw.destroyed) return undefined
  const bytes = new ByteAccumulator()
  // Since Node 26 a read returns one chunk; before, it returned all of them.
  for (let chunk = raw.read(); chunk !== null; chunk = raw.read()) bytes.add(chunk as Buffer)
  return bytes.take()
}
