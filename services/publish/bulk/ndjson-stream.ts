// One streamed publish: lines arrive and results are sent at the same time, each at its own pace.

import { once } from 'node:events'
import { constants } from 'node:http2'
import type { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { FanwireError } from '../../errors.ts'
import { LAPSED } from '../../broker/access/access.ts'
import { PatienceTimer } from '../../broker/patience.ts'
import { partyOf } from '../../http/address.ts'
import { endGently } from '../../http/node/closing.ts'
import { http2StreamOf } from '../../http/exchange.ts'
import { RequestBody } from '../../http/body.ts'
import { Entries, printError } from './entries.ts'
import { LineSplitter } from './lines.ts'
import { Results } from './results.ts'

/** The maximum bytes of results that are held for a client that does not read. */
const UNREAD_BYTES = 8 * 2 ** 20
/** The bytes of errors after which the response begins even if nothing was appended yet. */
const UNDECIDED_BYTES = 2 ** 20
/**
 * The response also begins when the client has sent nothing for this long, ms, since it may be waiting for results.
 */
const QUIET_MS = 200
/** The maximum bytes of a line, besides its data. */
const AROUND_DATA_BYTES = 64 * 1024

/** How long a client may continue to send after the response is out, ms. */
const SENT_IN_VAIN_MS = 5000

export type Reason =
  | 'FW_RESULTS_UNREAD'
  | 'FW_LOG_UNAVAILABLE'
  | 'FW_UNAUTHORIZED'
  | 'FW_DRAINING'
  | 'FW_INTERNAL'

const REASONS: Record<Reason, string> = {
  FW_RESULTS_UNREAD: 'too many results are unread: read them while you send',
  FW_LOG_UNAVAILABLE: 'the log fails',
  FW_UNAUTHORIZED: LAPSED,
  FW_DRAINING: 'the node is stopping',
  FW_INTERNAL: 'a fault of the node',
}

export class Upload {
  /** Returns when the status is 200; raises the error to send instead, if the log failed and holds nothing. */
  readonly decided: Promise<void>
  /** Returns when the response is out, or the client gone. */
  readonly #closed: Promise<void>

  readonly #body: RequestBody
  readonly #splitter: LineSplitter
  readonly #entries: Entries
  readonly #results: Results
  readonly #request: FastifyRequest
  readonly #reply: FastifyReply
  readonly #stall: PatienceTimer
  #quiet: NodeJS.Timeout | undefined
  #reason: Reason | undefined
  /** Whether every line has been taken. */
  #complete = false
  #isDecided = false
  /** Whether the last line of the response is written. */
  #over = false
  #accept = () => {}
  #reject = (_: Error) => {}

  constructor(request: FastifyRequest, reply: FastifyReply) {
    const context = request.server.fanwire
    const { maxBody, maxChannels, stall } = context.config
    const fault = (err: unknown) => request.log.error({ reqId: request.id, err }, 'append failed')
    this.#request = request
    this.#reply = reply
    this.#body = new RequestBody(request.body as Readable)
    this.#splitter = new LineSplitter(maxBody + Math.max(AROUND_DATA_BYTES, maxChannels * 256))
    this.#results = new Results(() => this.#stall.refresh())
    this.#entries = new Entries(context, partyOf(request), json => this.#result(json), fault)
    this.#stall = new PatienceTimer(stall, () => this.#checkStall())
    this.decided = new Promise((accept, reject) => {
      this.#accept = accept
      this.#reject = reject
    })
    this.#closed = new Promise(resolve => {
      reply.raw.once('close', () => {
        this.#gone()
        resolve()
      })
    })
    this.#run().catch(err => {
      fault(err)
      this.#finish('FW_INTERNAL')
    })
  }

  get results(): Readable {
    return this.#results.stream
  }

  /** Accepts no more lines; pending results still go out, then a line that gives the reason. */
  stop(reason: Reason): void {
    if (this.#complete) return
    this.#reason ??= reason
    this.#body.stop()
  }

  /** Stops because the node stops. Returns when the client has received the last line, and had time to notice. */
  async part(): Promise<void> {
    this.stop('FW_DRAINING')
    const { raw } = this.#request
    // An HTTP/2 client that continues to send keeps its stream open (RFC 9113 section 8.1).
    const stream = http2StreamOf(this.#request)
    stream?.once('finish', () => stream.close(constants.NGHTTP2_NO_ERROR))
    await this.#closed
    if (stream !== undefined || raw.complete || raw.socket.destroyed) return
    endGently(raw.socket)
    await once(raw.socket, 'close')
  }

  async #run(): Promise<void> {
    await this.#read()
    await this.#entries.settled()
    this.#finish(this.#reason)
  }

  async #read(): Promise<void> {
    try {
      for (let chunk = await this.#body.next(); chunk !== undefined; chunk = await this.#body.next()) {
        this.#stall.refresh()
        if (!(await this.#take(this.#splitter.push(chunk)))) return
      }
      if (this.#reason === undefined) this.#complete = await this.#take(this.#splitter.end())
    } catch (error) {
      // The client has gone in the middle of a line: nobody can be notified.
      if (!(error instanceof FanwireError)) throw error
    }
  }

  /** Takes lines. Returns false if no more are accepted. */
  async #take(lines: ReturnType<LineSplitter['push']>): Promise<boolean> {
    for (const { number, bytes } of lines) {
      await this.#entries.room()
      if (this.#entries.gaveUp) this.stop('FW_LOG_UNAVAILABLE')
      else if (this.#entries.lapsed) this.stop('FW_UNAUTHORIZED')
      if (this.#reason !== undefined) return false
      if (bytes === undefined) {
        this.#entries.refuse(new FanwireError('FW_TOO_LARGE', `line ${number}: longer than an event may be`))
      } else this.#entries.publish(bytes, `line ${number}: `)
    }
    return true
  }

  #result(json: string): void {
    this.#results.write(json)
    const held = this.#results.held + (this.#isDecided ? this.#reply.raw.writableLength : 0)
    if (held > UNREAD_BYTES) this.stop('FW_RESULTS_UNREAD')
    if (this.#isDecided) return
    if (this.#entries.held > 0) this.#decide()
    else if (held > UNDECIDED_BYTES) this.#settle()
    else if (this.#quiet === undefined) this.#quiet = setTimeout(() => this.#checkQuiet(), QUIET_MS).unref()
    else this.#quiet.refresh()
  }

  #checkQuiet(): void {
    if (this.#isDecided) return
    if (this.#entries.pending > 0) this.#quiet?.refresh()
    else this.#settle()
  }

  /** Decides the status while nothing is appended: if the log caused that, the request fails, otherwise results are sent. */
  #settle(): void {
    if (this.#entries.fault === undefined) this.#decide()
    else this.stop('FW_LOG_UNAVAILABLE')
  }

  #decide(error?: FanwireError): void {
    if (this.#isDecided) return
    this.#isDecided = true
    clearTimeout(this.#quiet)
    if (error === undefined) this.#accept()
    else this.#reject(error)
  }

  #finish(reason: Reason | undefined): void {
    const { held, failure, taken } = this.#entries
    const challenge = reason === 'FW_UNAUTHORIZED' ? 'invalid_token' : undefined
    const nothing =
      taken === 0 && reason !== undefined
        ? new FanwireError(reason, REASONS[reason], { challenge })
        : undefined
    this.#decide(held > 0 ? undefined : (failure ?? nothing))
    if (reason !== undefined) {
      const rest = `the ${taken} entries before this one have results; this one and later ones were not tried`
      this.#results.write(printError(taken, new FanwireError(reason, `${REASONS[reason]}; ${rest}`)))
    }
    this.#results.end()
    this.#body.discard(() => this.#stall.refresh())
    this.#over = true
  }

  /** Cuts a client that should read or send, but does neither. */
  #checkStall(): void {
    const unread = this.#isDecided && this.#results.held + this.#reply.raw.writableLength > 0
    if (unread || this.#over) this.#cut()
    else this.#stall.refresh()
  }

  #cut(): void {
    this.#reply.raw.destroy()
    this.#request.raw.destroy()
  }

  /** Called when the response is sent, or the client is gone. */
  #gone(): void {
    this.#stall.clear()
    clearTimeout(this.#quiet)
    this.#results.stream.destroy()
    this.stop('FW_RESULTS_UNREAD')
    const { raw } = this.#request
    if (raw.complete || raw.destroyed) return
    const timer = setTimeout(() => this.#cut(), SENT_IN_VAIN_MS).unref()
    raw.once('close', () => clearTimeout(timer))
  }
}
