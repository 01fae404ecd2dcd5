// The parts of a node that all routes share, as `app.fanwire` on Fastify, and the options of a route.

import { hostname } from 'node:os'
import { Control } from '../broker/control/control.ts'
import { Nodes } from '../broker/control/nodes.ts'
import { Questions } from '../broker/control/questions.ts'
import { LogTickets } from '../broker/control/tickets.ts'
import type { Logger } from '../broker/logger.ts'
import { VERSION } from '../config/version.ts'
import type { Config } from '../config/config.ts'
import type { Hub } from '../broker/fanout/hub.ts'
import type { ChannelLog } from '../broker/log/log.ts'
import type { Access } from '../broker/access/access.ts'
import type { Claims } from '../broker/access/tokens.ts'
import { Limits } from '../broker/limits/limits.ts'
import { Usage } from '../broker/limits/usage.ts'
import { printPosition } from '../broker/event/position.ts'
import { createMembers } from '../broker/presence/engine.ts'
import { Presence } from '../broker/presence/presence.ts'
import { Lives } from '../broker/lives/lives.ts'
import { Eraser } from '../broker/eraser.ts'
import { Publisher } from '../broker/publisher.ts'
import { Addresses } from './address.ts'
import { scopeOf } from './auth.ts'
import { type Client, type ClientLives, Clients } from './clients.ts'
import type { Health } from './health.ts'
import type { Metrics } from './metrics.ts'
import { Pressure } from './pressure.ts'

/** All workers at the address, including this one. Results are undefined if the primary does not answer. */
export interface Workers {
  /** The sum of their metrics, as Prometheus text. */
  metrics(): Promise<string | undefined>
  /** The number of a channel's readers. */
  readers(channel: string): Promise<number | undefined>
}

/** Tickets replace a token if no header can be sent. They are valid on all nodes. */
export interface Tickets {
  /** The longest life of a ticket, ms. */
  readonly longest: number
  /** Issues a ticket, valid once, for `life` ms (default: 30 s), but no longer than the token. Raises LogUnavailable. */
  issue(claims: Claims, life?: number): Promise<{ readonly ticket: string; readonly expires: number }>
  /** Redeems a ticket, once, for its claims. Raises CredentialsRefused. */
  take(ticket: string): Promise<Claims>
}

export interface Context {
  readonly config: Config
  readonly log: ChannelLog
  readonly hub: Hub
  readonly access: Access
  readonly health: Health
  readonly metrics: Metrics
  /** Undefined if there is only one process. */
  readonly workers?: Workers | undefined
  readonly publisher: Publisher
  readonly eraser: Eraser
  readonly clients: Clients
  readonly addresses: Addresses
  readonly limits: Limits
  readonly pressure: Pressure
  /** Usage of users and keys on other nodes. */
  readonly usage: Usage
  readonly tickets: Tickets
  /** The members of channels. */
  readonly presence: Presence
  /** The log of lives. */
  readonly lives: Lives
  readonly nodes: Nodes
  /** Commands to all nodes. */
  readonly control: Control
  /** Questions to all nodes. */
  readonly questions: Questions
}

declare module 'fastify' {
  interface FastifyInstance {
    fanwire: Context
  }

  interface FastifyContextConfig {
    /** Set if an EventSource reads the response: temporary errors are sent with 200 and `retry:`. */
    sse?: true
    /** Set for a page that reloads itself: temporary errors say when to reload. */
    page?: true
    /** Set if pages of origins that may not read may not even send the request: WebSocket, Socket.IO. */
    origin?: 'required'
    /** The route accepts any `Host`, because health checks use the node's address. */
    anyHost?: true
    /** The wire of the route, as hooks report it to applications. */
    wire?: string
    /** Set for a protocol outside `/v1/`, if each request begins a client: refused like a read, whatever its method. */
    opens?: true
    /** Set if the route is served in any state of the node: not ready, draining, too many connections. */
    always?: true
  }
}

/** Creates the parts for messages between nodes. */
function createCluster({ log, access, hub, config, logger }: Parts) {
  const nodes = new Nodes({
    log,
    logger,
    about: { role: config.role, version: VERSION, host: hostname(), pid: process.pid },
    load() {
      const { channels, wires } = hub.stats()
      return { channels, connections: Object.values(wires).reduce((sum, wire) => sum + wire.connections, 0) }
    },
  })
  const control = new Control({ log, logger, revocations: () => access.revocations.entries() })
  return { nodes, control, questions: new Questions({ log, logger, nodes }) }
}

function createTickets({ log, config, access }: Parts): Tickets {
  const tickets = new LogTickets<Claims>({ log, idempotencyWindow: config.idempotencyWindow })
  return {
    longest: tickets.longest,
    issue: (claims, life) =>
      tickets.issue(claims, { life, until: claims.exp === undefined ? undefined : claims.exp * 1000 }),
    async take(ticket) {
      const { record, refused } = { record: undefined, ...(await tickets.take(ticket)) }
      if (record === undefined) throw access.refuseTicket(refused)
      return record
    },
  }
}

function createPresence({ log, logger, access, config }: Parts) {
  const store = createMembers(log)
  const lives = new Lives({ log, store, logger, records: kind => access.recordsLives(kind) })
  const presence = new Presence({
    store,
    logger,
    lives,
    grace: config.presenceGrace,
    keeps: channel => !channel.startsWith('fanwire:') && access.keepsPresence(channel),
    keepsAny: () => access.rules.keepPresence || access.apps !== undefined,
  })
  return { presence, lives }
}

/** Records clients in the log of lives. Polling clients do not connect and disconnect. */
function clientLives(lives: Lives): ClientLives {
  const record = (kind: 'client.connected' | 'client.disconnected', { id, held, identity }: Client) => {
    const { user, key } = identity
    const data = { client: id, user, wire: held.wire, ...(key === undefined ? {} : { key }) }
    lives.record(kind, user === '' ? id : user, data)
  }
  return {
    connected(client) {
      if (client.held.polls !== true && lives.records('client.connected')) record('client.connected', client)
    },
    disconnected(client) {
      const isRecorded = client.held.polls !== true && lives.records('client.disconnected')
      if (isRecorded) record('client.disconnected', client)
    },
  }
}

type Made =
  | 'publisher'
  | 'eraser'
  | 'clients'
  | 'addresses'
  | 'limits'
  | 'pressure'
  | 'usage'
  | 'tickets'
  | 'presence'
  | 'lives'
  | 'nodes'
  | 'control'
  | 'questions'

type Parts = Omit<Context, Made> & {
  readonly logger: Logger
}

/** Assembles the parts of a node. */
export function createContext(parts: Parts): Context {
  const { access } = parts
  const { presence, lives } = createPresence(parts)
  const clients = new Clients(access, clientLives(lives), parts.config.maxChannels)
  const limits = new Limits(parts.config)
  parts.metrics.countLimited(() => limits.hits)
  const pressure = new Pressure(parts.config)
  parts.metrics.readPressure({
    get cause() {
      return pressure.cause
    },
    get shed() {
      return { ...pressure.shed, reads: parts.hub.glances.shed }
    },
  })
  const publisher = new Publisher({
    ...parts,
    limits,
    scopeOf,
    keepsUpdates: parts.config.mercure,
    published(channel, { position, replayed }, { user }) {
      if (replayed || !lives.records('client.published')) return
      lives.record('client.published', channel, { channel, user, event: printPosition(position) })
    },
  })
  const addresses = new Addresses(parts.config.trustProxy)
  const cluster = createCluster(parts)
  const rulesHaveRates = () => access.rules.limitRates
  return {
    ...parts,
    ...cluster,
    usage: new Usage({ ...parts, limits, nodes: cluster.nodes, rulesHaveRates }),
    clients,
    addresses,
    limits,
    pressure,
    publisher,
    eraser: new Eraser({ log: parts.log, keepsUpdates: parts.config.mercure }),
    tickets: createTickets(parts),
    presence,
    lives,
  }
}
