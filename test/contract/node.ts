// A whole node in the test's own process, on a free port, with access to its parts.

import { once } from 'node:events'
import { request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance, RouteOptions } from 'fastify'
import { pino } from 'pino'
import { type Config, readConfig } from '../../services/config/config.ts'
import { Hub, type HubOptions } from '../../services/broker/fanout/hub.ts'
import { closeParts, openCluster } from '../../services/node/cluster.ts'
import { createAccess } from '../../services/node/create-access.ts'
import { createContext } from '../../services/http/context.ts'
import { Health } from '../../services/http/health.ts'
import { createSendNow } from '../../services/http/node/send-now.ts'
import { Metrics } from '../../services/http/metrics.ts'
import { buildServer } from '../../services/http/server.ts'
import type { Draft } from '../../services/broker/event/event.ts'
import type { ChannelLog } from '../../services/broker/log/log.ts'
import { MemoryLog } from '../../services/broker/log/memory.ts'
import { type Position, printPosition } from '../../services/broker/event/position.ts'
import { ROLES } from '../../services/node/roles.ts'

export interface Node {
  readonly port: number
  /** Its port for cleartext HTTP/2, if it has one. */
  readonly h2cPort?: number | undefined
  /** Speaks TLS on `port`. */
  readonly secure: boolean
  readonly config: Config
  readonly log: ChannelLog
  readonly hub: Hub
  readonly app: FastifyInstance
  /** All routes, as they were registered. */
  readonly routes: readonly RouteOptions[]
  /** Appends as a publish would, but without HTTP. Returns the ids. */
  append(channel: string, ...data: (string | Partial<Draft>)[]): Promise<string[]>
  /** Publishes over HTTP. Returns the id. */
  publish(channel: string, body: string | Buffer, contentType?: string, query?: string): Promise<string>
  /** Sends one request. */
  get(path: string, headers?: Record<string, string>): Promise<Reply>
  close(): Promise<void>
}

export interface Reply {
  readonly status: number
  readonly headers: NodeJS.Dict<string | string[]>
  /** The body as UTF-8. */
  readonly body: string
}

/** Settings as environment variables, without `FANWIRE_`. */
export type Settings = Readonly<Record<string, string>>
export type StartNode = (settings?: Settings) => Promise<Node>

/** The Host of requests that tests write by hand. */
export const RAW_HOST = 'x'

export function configOf(settings: Settings): Config {
  const env = Object.fromEntries(Object.entries(settings).map(([name, value]) => [`FANWIRE_${name}`, value]))
  const command = readConfig([], { FANWIRE_HOSTS: RAW_HOST, ...env })
  if (!('config' in command)) throw new Error('no config')
  return command.config
}

/** `over`: settings that no node with a memory log accepts. */
export const startMemoryNode = (
  settings: Settings = {},
  options: Partial<HubOptions> = {},
  over: Partial<Config> = {},
): Promise<Node> =>
  startNode(
    { ...configOf(settings), ...over },
    ({ history, idempotencyWindow }) => new MemoryLog({ retentionOf: () => history, idempotencyWindow }),
    options,
  )

/** Starts a node over the log of `createLog`. `options`: for the fan-out, in addition to settings. */
export async function startNode(
  config: Config,
  createLog: (config: Config) => ChannelLog,
  options: Partial<HubOptions> = {},
): Promise<Node> {
  const log = createLog(config)
  await log.open()
  const sendNow = config.directWrites ? createSendNow() : undefined
  // Tests run their clients in this process, which may be busy for longer than the default timeout.
  const heartbeatAnswer = 60_000
  const hub = new Hub(log, {
    ...config,
    retentionOf: () => config.history,
    sendNow,
    heartbeatAnswer,
    ...options,
  })
  const logger = pino({ level: process.env.TEST_LOG ?? 'silent' })
  const health = new Health(log, logger)
  const access = await createAccess(config, logger)
  const metrics = new Metrics({ hub, health, log, access })
  const context = createContext({ config, access, logger, log, hub, health, metrics })
  const app = buildServer(context, logger)
  const routes: RouteOptions[] = []
  app.addHook('onRoute', route => void routes.push(route))
  for (const service of ROLES.all) await app.register(service)
  hub.start()
  health.start()
  await Promise.all([health.proved(5000), openCluster(context)])
  await app.listen({ port: 0, host: '127.0.0.1' })
  const h2cPort = await app.protocols.listen('127.0.0.1', 0)
  const secure = config.tlsCert !== undefined
  const { port } = app.server.address() as AddressInfo

  const send = async (
    method: string,
    path: string,
    headers: Record<string, string>,
    body?: string | Buffer,
  ): Promise<Reply> => {
    const options = { port, host: '127.0.0.1', method, path, headers, agent: false as const }
    const asked = secure ? requestHttps({ ...options, rejectUnauthorized: false }) : requestHttp(options)
    asked.end(body)
    const [answer] = await once(asked, 'response')
    const pieces: Buffer[] = []
    for await (const piece of answer) pieces.push(piece)
    return {
      status: answer.statusCode,
      headers: answer.headers,
      body: new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(pieces)),
    }
  }

  return {
    port,
    h2cPort,
    secure,
    config,
    log,
    hub,
    app,
    routes,
    async append(channel, ...data) {
      const drafts = data.map(each => {
        const draft = typeof each === 'string' ? { data: Buffer.from(each) } : each
        return { data: Buffer.from('1'), ...draft }
      })
      const receipts = await log.append(channel, drafts)
      for (const { position } of receipts) hub.acknowledged(channel, position)
      return receipts.map(receipt => printPosition(receipt.position))
    },
    async publish(channel, body, contentType = 'application/json', query = '') {
      const path = `/v1/channels/${encodeURIComponent(channel)}/events${query}`
      const reply = await send('POST', path, { 'content-type': contentType }, body)
      if (reply.status !== 201) throw new Error(`${reply.status} ${reply.body}`)
      return JSON.parse(reply.body).id
    },
    get: (path, headers = {}) => send('GET', path, headers),
    async close() {
      const closed = app.close()
      for (const socket of app.sockets) socket.destroy()
      await closed
      await closeParts(context)
    },
  }
}

export function offsetOf(id: string): number {
  return Number(id.slice(id.indexOf('-') + 1))
}

export function positionOf(id: string): Position {
  return { epoch: id.slice(0, id.indexOf('-')), offset: offsetOf(id) }
}
