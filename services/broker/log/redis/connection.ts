// One connection to Redis. This is the only file that knows the driver: its options, the meaning of its errors, and that
// it never sends a command twice.

import { once } from 'node:events'
import { isIP } from 'node:net'
import { TLSSocket } from 'node:tls'
import { Command, Redis, type RedisOptions, ReplyError } from 'ioredis'
import { delay } from '../../../backoff.ts'
import { addressOf, type Endpoint, type HostPort } from './url.ts'
import { LogRefused, LogUnavailable } from '../log.ts'
import type { Logger } from '../../logger.ts'
import { ErrorReply } from './replies.ts'
import { type Argument, printCommand } from './resp.ts'

export interface ConnectionOptions {
  /** A server, or the sentinels that name it. */
  readonly endpoint: Endpoint
  /** Its purpose, e.g. `commands`: shown in CLIENT LIST and in the log. */
  readonly name: string
  /** How long a command or connecting may take, ms. */
  readonly timeout: number
  readonly logger: Logger
  /** The expected address of the server, if it is newer than what the sentinels may know. */
  expected?(): HostPort | undefined
  /** Called after each connect: commands that it sends are the first on the connection. */
  onReady(): void
  /** Called with each pub/sub message. Both arguments are views that are valid only during the call. */
  onMessage?(feed: Buffer, payload: Buffer): void
  /** Called when Redis cancelled a subscription, since its slot has moved. */
  onMoved?(): void
}

/** The longest delay before a new attempt to connect, ms. */
const MAX_DELAY = 2000

/** How long a sentinel may take to answer before the next one is tried, ms. */
const SENTINEL_TIMEOUT_MS = 1000

type Target = Omit<RedisOptions, 'replyMapping'>

/** How the driver finds the server and authenticates. */
function target(endpoint: Endpoint, timeout: number): Target {
  const { kind, hosts, master, db, username, password, sentinelLogin, tls, certificates } = endpoint
  const [first] = hosts
  const secure = { ca: certificates?.ca, cert: certificates?.cert, key: certificates?.key }
  const options: Target = { db }
  if (username !== undefined) options.username = username
  if (password !== undefined) options.password = password
  if (kind === 'sentinel') {
    options.sentinels = [...hosts]
    options.name = master
    options.sentinelCommandTimeout = Math.min(SENTINEL_TIMEOUT_MS, timeout)
    // If no sentinel answers, the driver gives up, and this file retries.
    options.sentinelRetryStrategy = () => null
    if (sentinelLogin?.username !== undefined) options.sentinelUsername = sentinelLogin.username
    if (sentinelLogin?.password !== undefined) options.sentinelPassword = sentinelLogin.password
    if (tls) {
      options.tls = secure
      options.sentinelTLS = secure
      options.enableTLSForSentinelMode = true
    }
  } else if (first !== undefined) {
    options.host = first.host
    options.port = first.port
    if (tls) options.tls = isIP(first.host) === 0 ? { ...secure, servername: first.host } : secure
  }
  return options
}

/**
 * Why a command failed, in our own words. Uses only the error's message: the driver's errors carry the command's
 * arguments, including passwords and data.
 */
export function reason(error: unknown): string {
  return error instanceof Error ? inOurWords(error.message) : String(error)
}

function inOurWords(message: string): string {
  const [, last] = /^All sentinels are unreachable.*?(?: Last error: (.*))?$/s.exec(message) ?? []
  if (last !== undefined) return `no sentinel answers: ${inOurWords(last.trim())}`
  const [, command] = /^NOPERM .*run the '([^']+)' command/.exec(message) ?? []
  if (command !== undefined) return `NOPERM this user may not run ${command.toUpperCase().replace('|', ' ')}`
  if (/wrong version number|packet length too long|before secure TLS/i.test(message)) return NO_TLS
  return message
}

const LOADING = 'it is loading its data'
const NO_TLS = 'it does not speak TLS: begin the URL with redis, not rediss'
const PERHAPS_TLS =
  'it closes connections before it answers: if it only speaks TLS, begin the URL with rediss'

/** The driver, without the advice that it would print on the console if INFO fails. */
class Driver extends Redis {
  onInfo: (info: string) => void = () => {}

  override sendCommand(command: Command, stream?: Parameters<Redis['sendCommand']>[1]): unknown {
    if (command.name === 'info' && this.status !== 'ready') {
      const { reject } = command
      // The driver prints advice if the message contains "NOPERM".
      command.reject = error => reject(new Error(reason(error).replace('NOPERM ', '')))
      void command.promise.then(
        info => this.onInfo(`${info}`),
        () => {},
      )
    }
    return super.sendCommand(command, stream)
  }
}

/** EVALSHA. The driver would measure each argument three times, and write it in several pieces. */
class Evalsha extends Command {
  readonly #bytes: Buffer

  constructor(args: readonly Argument[], replyEncoding: 'utf8' | null) {
    super('evalsha', [], { replyEncoding })
    this.#bytes = printCommand('evalsha', args)
  }

  override toWritable(): Buffer {
    return this.#bytes
  }
}

/** How a command is sent. */
export interface Sending {
  /** Whether the reply has Buffers instead of strings. */
  readonly buffers?: boolean | undefined
  /** Whether it has everything of one turn of the event loop already, so that it does not wait for other commands. */
  readonly gathered?: boolean | undefined
}

export class RedisConnection {
  readonly #driver: Driver
  readonly #options: ConnectionOptions
  readonly #address: string
  #usable = false
  #closing = false
  #corked = false
  #failure = 'not connected yet'
  #reported = ''
  #retry: NodeJS.Timeout | undefined
  #opening: Deferred<void> | undefined
  /** The number of connects. */
  connected = 0

  constructor(options: ConnectionOptions) {
    this.#options = options
    this.#address = addressOf(options.endpoint)
    this.#driver = new Driver({
      ...target(options.endpoint, options.timeout),
      connectionName: `fanwire-${options.name}`,
      protocol: 2,
      // It would need another right, and CLIENT LIST shows the name anyway.
      disableClientInfo: true,
      lazyConnect: true,
      connectTimeout: options.timeout,
      commandTimeout: options.timeout,
      // A command is sent once or fails. It is never queued, and never sent again.
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      autoResubscribe: false,
      maxLoadingRetryTime: 500,
      // The master became a replica: the address may now lead to the new master.
      reconnectOnError: error => error.message.startsWith('READONLY'),
      retryStrategy: times => delay(times, 50, MAX_DELAY),
    })
    this.#driver.onInfo = info => {
      if (/^loading:1/m.test(info)) this.#failed(new Error(LOADING))
    }
    this.#driver.on('ready', () => this.#ready())
    this.#driver.on('error', error => this.#failed(error))
    this.#driver.on('close', () => {
      this.#usable = false
    })
    this.#driver.on('end', () => this.#ended())
    if (options.onMessage) {
      for (const event of ['messageBuffer', 'smessageBuffer']) {
        this.#driver.on(event, (feed: Buffer, payload: Buffer) => options.onMessage?.(feed, payload))
      }
    }
    this.#driver.on('moved', () => options.onMoved?.())
  }

  get usable(): boolean {
    return this.#usable
  }

  /** Reconnects if it leads to an unexpected server. */
  check(): void {
    if (this.#usable && this.#astray()) this.reset('the sentinels name another master')
  }

  /** Connects. Raises LogUnavailable after the timeout, LogRefused if Redis rejects the connection. */
  async open(): Promise<void> {
    const opening = deferred<void>()
    this.#opening = opening
    const expire = () => opening.reject(this.#givenUp())
    const timer = setTimeout(expire, this.#options.timeout)
    this.#driver.connect().catch(() => {})
    try {
      await opening.promise
    } finally {
      clearTimeout(timer)
      this.#opening = undefined
    }
  }

  /** The error if it is not connected after the timeout. */
  #givenUp(): LogUnavailable | LogRefused {
    const { stream, status } = this.#driver
    if (this.#failure === LOADING) return new LogUnavailable(this.#message(LOADING), 'LOADING')
    // The connection is open, but nobody answers the handshake.
    const waits =
      status === 'connecting' && stream instanceof TLSSocket && stream.encrypted && !stream.connecting
    if (this.#failure === NO_TLS || waits) return new LogRefused(this.#message(NO_TLS))
    // Failures of sentinels are reported unchanged.
    const cut = !this.#options.endpoint.tls && /^(read|write) (ECONNRESET|EPIPE)/.test(this.#failure)
    return cut ? new LogUnavailable(this.#message(PERHAPS_TLS), 'CLOSED') : this.#unavailable(this.#failure)
  }

  /** Sends a command and returns its reply. Raises LogUnavailable. */
  async call(name: string, args: readonly Argument[], { buffers, gathered }: Sending = {}): Promise<unknown> {
    this.#prepare(gathered)
    const replyEncoding = buffers ? null : 'utf8'
    try {
      return await this.#driver.sendCommand(
        name === 'evalsha'
          ? new Evalsha(args, replyEncoding)
          : new Command(name, [...args], { replyEncoding }),
      )
    } catch (error) {
      throw this.#explain(error)
    }
  }

  /** Sends ASKING: the next command is for a slot that is migrating to this server. Raises LogUnavailable. */
  asking(): void {
    this.#prepare()
    // If it fails, that command fails too.
    this.#driver.call('asking').catch(() => {})
  }

  /** Drops the connection, which no longer answers, and reconnects. */
  reset(why: string): void {
    if (!this.#usable || this.#closing) return
    this.#usable = false
    this.#failure = why
    this.#options.logger.warn(
      { redis: this.#address, connection: this.#options.name },
      `${why}: reconnecting`,
    )
    this.#driver.stream.destroy()
  }

  async close(): Promise<void> {
    if (this.#closing) return
    this.#closing = true
    this.#usable = false
    this.#failure = 'the log is closed'
    clearTimeout(this.#retry)
    this.#opening?.reject(this.#unavailable(this.#failure))
    const { stream } = this.#driver
    this.#driver.disconnect()
    if (stream === undefined || stream.closed) return
    stream.destroy()
    await once(stream, 'close')
  }

  #ready(): void {
    if (this.#closing) return
    if (this.#astray()) {
      this.#driver.stream.destroy()
      return
    }
    this.#usable = true
    this.connected++
    this.#reported = ''
    this.#failure = 'the connection was lost'
    const { name, logger } = this.#options
    const level = this.connected === 1 ? 'debug' : 'info'
    logger[level]({ redis: this.#address, connection: name }, 'connected to Redis')
    this.#options.onReady()
    this.#opening?.resolve()
  }

  #astray(): boolean {
    const expected = this.#options.expected?.()
    if (expected === undefined) return false
    const { remoteAddress = '', remotePort } = this.#driver.stream
    // For a host name, only the port can be compared.
    const same = isIP(expected.host) === 0 || remoteAddress.replace(/^::ffff:/, '') === expected.host
    return remotePort !== expected.port || !same
  }

  #failed(error: unknown): void {
    this.#failure = reason(error)
    if (isRefusal(this.#failure)) this.#opening?.reject(new LogRefused(this.#message(this.#failure)))
    if (this.#closing || this.#reported === this.#failure) return
    // Logs each kind of failure once until the next connect: the driver retries up to 20 times a second.
    this.#reported = this.#failure
    this.#options.logger.warn({ redis: this.#address, connection: this.#options.name }, this.#failure)
  }

  /** Called when the driver gave up, which it does only if it could not even begin to connect. */
  #ended(): void {
    this.#usable = false
    if (this.#closing) return
    this.#retry = setTimeout(() => this.#driver.connect().catch(() => {}), delay(3, 50, MAX_DELAY))
  }

  /** Sends all commands of one turn of the event loop with one system call. */
  #prepare(gathered = false): void {
    if (!this.#usable) throw this.#unavailable(this.#failure)
    if (this.#corked) return
    this.#corked = true
    const { stream } = this.#driver
    stream.cork()
    const uncork = () => {
      this.#corked = false
      stream.uncork()
    }
    if (gathered) process.nextTick(uncork)
    else setImmediate(uncork)
  }

  #explain(error: unknown): LogUnavailable {
    const why = reason(error)
    if (why === 'Command timed out') {
      // Later commands on this connection would wait as long.
      this.reset(`no answer within ${this.#options.timeout} ms`)
      return this.#unavailable(this.#failure)
    }
    if (/retries per request|Connection is closed|isn't writeable/.test(why))
      return this.#unavailable(this.#failure)
    return error instanceof ReplyError ? new ErrorReply(this.#message(why), why) : this.#unavailable(why)
  }

  #unavailable(why: string): LogUnavailable {
    return new LogUnavailable(this.#message(why))
  }

  #message(why: string): string {
    return `Redis at ${this.#address}: ${why}`
  }
}

function isRefusal(why: string): boolean {
  return /^(WRONGPASS|NOAUTH|NOPERM|this user may not|ERR invalid password|ERR DB index|ERR AUTH)/.test(why)
}

export interface Deferred<T> {
  readonly promise: Promise<T>
  resolve(value: T): void
  reject(error: unknown): void
}

export function deferred<T>(): Deferred<T> {
  let resolve: (value: T) => void = () => {}
  let reject: (error: unknown) => void = () => {}
  const promise = new Promise<T>((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}
