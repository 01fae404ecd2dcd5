// A node with publish routes, but no wires, on a log that tests can delay and break.

import { request as httpRequest, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { pino } from 'pino'
import type { Test } from 'tap'
import { type Config, readConfig } from '../../../services/config/config.ts'
import { Hub } from '../../../services/broker/fanout/hub.ts'
import { type Context, createContext } from '../../../services/http/context.ts'
import { Health } from '../../../services/http/health.ts'
import { Metrics } from '../../../services/http/metrics.ts'
import { createAccess } from '../../../services/node/create-access.ts'
import { channels } from '../../../services/channels/index.ts'
import { buildServer } from '../../../services/http/server.ts'
import type { Draft } from '../../../services/broker/event/event.ts'
import type { Receipt } from '../../../services/broker/log/log.ts'
import { MemoryLog } from '../../../services/broker/log/memory.ts'
import { type WriterOptions, writer } from '../../../services/publish/index.ts'

type Append = (
  channel: string,
  drafts: readonly Draft[],
  next: () => Promise<Receipt[]>,
) => Promise<Receipt[]>

/** A memory log whose appends go through `through`. */
export class TestLog extends MemoryLog {
  through: Append = (_channel, _drafts, next) => next()

  override async append(channel: string, drafts: readonly Draft[]): Promise<Receipt[]> {
    return this.through(channel, drafts, () => super.append(channel, drafts))
  }
}

export interface TestNode {
  readonly app: FastifyInstance
  readonly log: TestLog
  readonly context: Context
  /** Data of every event of a channel, as text. */
  data(channel: string): Promise<string[]>
  /** Events of a channel, parsed. */
  events(channel: string): Promise<Record<string, unknown>[]>
  /** Listens. Returns the port. */
  listen(): Promise<number>
}

export async function startNode(
  t: Test,
  config: Partial<Config> = {},
  options?: WriterOptions,
): Promise<TestNode> {
  const command = readConfig([], {})
  if (!('config' in command)) throw new Error('no config')
  const settings: Config = { ...command.config, ...config }
  const logger = pino({ level: 'silent' })
  const log = new TestLog({
    retentionOf: () => settings.history,
    idempotencyWindow: settings.idempotencyWindow,
  })
  const hub = new Hub(log, { ...settings, retentionOf: () => settings.history })
  const health = new Health(log, logger)
  const access = await createAccess(settings, logger)
  const context = createContext({
    config: settings,
    access,
    logger,
    log,
    hub,
    health,
    metrics: new Metrics({ hub, health }),
  })
  const app = buildServer(context, logger)
  app.register(channels)
  app.register(writer, options ?? {})
  health.start()
  await health.proved(5000)
  await app.ready()
  t.teardown(async () => {
    await app.close()
    health.close()
    hub.close()
    await log.close()
  })
  const read = async (channel: string) => {
    const limit = { events: 1_000_000, bytes: 2 ** 30 }
    return (await log.read(channel, 'earliest', limit)).events.map(event => event.json.toString())
  }
  return {
    app,
    log,
    context,
    data: async channel => (await read(channel)).map(dataOf),
    events: async channel => (await read(channel)).map(json => JSON.parse(json)),
    async listen() {
      await app.listen({ port: 0, host: '127.0.0.1' })
      return (app.server.address() as AddressInfo).port
    },
  }
}

/** The text of `data`, the last member of an event's JSON. */
function dataOf(json: string): string {
  return json.slice(json.indexOf(',"data":') + ',"data":'.length, -1)
}

/** A POST request over a real connection, whose body is sent in pieces. */
export class Post {
  readonly request
  readonly answer: Promise<IncomingMessage>
  readonly closed: Promise<void>

  constructor(port: number, path: string, headers: OutgoingHttpHeaders) {
    this.request = httpRequest({ port, host: '127.0.0.1', method: 'POST', path, headers })
    this.answer = new Promise((resolve, reject) => {
      this.request.once('response', resolve)
      this.request.once('error', reject)
    })
    this.closed = new Promise(resolve => this.request.once('close', () => resolve()))
    this.request.on('error', () => {})
    this.answer.catch(() => {})
  }

  /** Writes a piece. Returns when the socket accepts more, or is closed. */
  async write(text: string | Buffer): Promise<void> {
    if (this.request.write(text)) return
    await Promise.race([new Promise(resolve => this.request.once('drain', resolve)), this.closed])
  }

  /** The whole response. */
  async text(): Promise<string> {
    const answer = await this.answer
    let text = ''
    answer.setEncoding('utf8')
    for await (const piece of answer) text += piece
    return text
  }
}

/** The parsed lines of an NDJSON response. */
export function lines(text: string): Record<string, unknown>[] {
  return text
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line))
}
