// An HTTP server without wires and publish routes, on a memory log whose probes a test can leave unanswered.

import { once } from 'node:events'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { FastifyInstance } from 'fastify'
import { pino } from 'pino'
import type { Test } from 'tap'
import { type Config, readConfig } from '../../../services/config/config.ts'
import { Hub } from '../../../services/broker/fanout/hub.ts'
import { createContext } from '../../../services/http/context.ts'
import { Health, type ProbeTimes } from '../../../services/http/health.ts'
import { Metrics } from '../../../services/http/metrics.ts'
import { createAccess } from '../../../services/node/create-access.ts'
import { channels } from '../../../services/channels/index.ts'
import { buildServer } from '../../../services/http/server.ts'
import { MemoryLog } from '../../../services/broker/log/memory.ts'
import { RAW_HOST } from '../../contract/node.ts'

/** A memory log that can be silent: probes start but are not answered. */
export class SilentLog extends MemoryLog {
  #speak: (() => void) | undefined
  #silence: Promise<void> | undefined

  silence(): void {
    this.#silence = new Promise(resolve => {
      this.#speak = resolve
    })
  }

  speak(): void {
    this.#silence = undefined
    this.#speak?.()
  }

  override async probe(): Promise<void> {
    await this.#silence
    return super.probe()
  }
}

export interface TestApp {
  readonly app: FastifyInstance
  readonly log: SilentLog
  readonly health: Health
  /** Logged lines of JSON. */
  readonly lines: readonly string[]
}

export interface AppOptions {
  readonly config?: Partial<Config>
  readonly level?: string
  readonly times?: ProbeTimes
  /** Registers more routes. */
  readonly routes?: (app: FastifyInstance) => void
  /** The log is silent from the start. */
  readonly silent?: boolean
}

export async function startApp(t: Test, options: AppOptions = {}): Promise<TestApp> {
  const command = readConfig([], {})
  if (!('config' in command)) throw new Error('no config')
  const config: Config = { ...command.config, hosts: [RAW_HOST], ...options.config }
  const lines: string[] = []
  const logger = pino({ level: options.level ?? 'info' }, { write: line => void lines.push(line) })
  const log = new SilentLog({
    retentionOf: () => config.history,
    idempotencyWindow: config.idempotencyWindow,
  })
  const hub = new Hub(log, { ...config, retentionOf: () => config.history })
  const health = new Health(log, logger, options.times)
  const access = await createAccess(config, logger)
  const app = buildServer(
    createContext({
      config,
      access,
      logger,
      log,
      hub,
      health,
      metrics: new Metrics({ hub, health, log, access }),
    }),
    logger,
  )
  app.register(channels)
  app.register(async inner => options.routes?.(inner))
  await app.ready()
  if (options.silent) log.silence()
  health.start()
  if (!options.silent) await health.proved(5000)
  t.teardown(async () => {
    await app.close()
    health.close()
    hub.close()
    await log.close()
  })
  return { app, log, health, lines }
}

export async function listen(app: FastifyInstance): Promise<number> {
  await app.listen({ host: '127.0.0.1', port: 0 })
  return (app.server.address() as AddressInfo).port
}

/** A connection on which a test sends raw bytes. */
export class Raw {
  readonly socket: Socket
  #text = ''
  #look: (() => void) | undefined
  /** Resolves when the server has ended the connection. */
  readonly ended: Promise<unknown>

  /** `from`: the client's own address. `secure`: over TLS. */
  constructor(port: number, { from = '127.0.0.1', secure = false } = {}) {
    const address = { port, host: '127.0.0.1', localAddress: from, rejectUnauthorized: false }
    this.socket = secure ? connectTls(address) : connect(address)
    this.socket.on('error', () => {})
    this.socket.on('data', data => {
      this.#text += data.toString('latin1')
      this.#look?.()
    })
    this.ended = once(this.socket, 'close')
    this.socket.on('close', () => this.#look?.())
  }

  get text(): string {
    return this.#text
  }

  send(text: string | Buffer): this {
    this.socket.write(text)
    return this
  }

  /** Returns the received text once it matches or the connection has ended. */
  async until(pattern: RegExp): Promise<string> {
    while (!pattern.test(this.#text) && !this.socket.closed) {
      await new Promise<void>(resolve => {
        this.#look = resolve
      })
    }
    return this.#text
  }

  close(): void {
    this.socket.destroy()
  }
}
