// The capacity model: what a number of clients, channels and events needs, from measured costs.

import type { WireName } from '../load/order.ts'
import { costAt, type Costs } from './costs.ts'

export interface Demand {
  readonly clients: number
  readonly channels: number
  /** Published events per second, over all channels together, evenly. */
  readonly rate: number
  readonly wire: WireName
  /** Channels that a client follows, chosen at random. */
  readonly channelsPerClient: number
  /** Bytes of an event's data. */
  readonly size: number
  /** poll and refresh: seconds between two requests of a client. */
  readonly every: number
  /** Usable share of a core, of memory and of a network link. */
  readonly utilisation: number
  readonly coresPerNode: number
  /** GiB. */
  readonly memoryPerNode: number
  /** Gbit/s. */
  readonly networkPerNode: number
  /** Maximum connections of one process: limited by open files, and by how many may be lost at once. */
  readonly connectionsPerProcess: number
}

/** Defaults of a plan. */
export const DEFAULTS = {
  channels: 1,
  rate: 1,
  wire: 'ws',
  channelsPerClient: 1,
  every: 5,
  utilisation: 0.6,
  coresPerNode: 4,
  memoryPerNode: 8,
  networkPerNode: 10,
  connectionsPerProcess: 20_000,
} as const satisfies Partial<Demand>

export const RESOURCES = ['CPU', 'memory', 'connections', 'network'] as const
export type Resource = (typeof RESOURCES)[number]

export interface Plan {
  readonly demand: Demand
  readonly readersPerChannel: number
  readonly eventsPerChannel: number
  readonly eventsPerClient: number
  readonly deliveriesPerSecond: number
  /** Edge processes, one per core, that each resource alone requires; below, that all resources together require. */
  readonly needs: Readonly<Record<Resource, number>>
  readonly processes: number
  readonly binds: Resource
  /** Machines: the required ones, and one spare. */
  readonly edges: number
  readonly writerProcesses: number
  readonly writers: number
  /** The load of each edge process while all nodes run. CPU: share of a core; memory: bytes. */
  readonly each: {
    readonly clients: number
    readonly channels: number
    readonly cpu: number
    readonly memory: number
  }
  /** Seconds until all clients of a lost node have reconnected. */
  readonly comeback: number
  /** Processes that an event reaches. */
  readonly reach: number
  readonly redis: {
    readonly shards: number
    /** Cores used over all shards. */
    readonly cpu: number
    /** Bytes over all shards, including retained events. */
    readonly memory: number
    readonly gbitOut: number
    /** Connections to each shard. */
    readonly connections: number
  }
  readonly gbitOut: number
  readonly gbitIn: number
  readonly warnings: readonly string[]
}

/** Usable share of the single core of a Redis server, so that appends do not wait. */
export const REDIS_CORE = 0.7
/** Maximum bytes of a shard: a larger one takes long to copy to a replica. */
export const REDIS_MEMORY = 32 * 2 ** 30
/** FANWIRE_MEMORY, by default: maximum bytes of recent events in a process. */
const RECENT = 256 * 2 ** 20
/** FANWIRE_HISTORY_EVENTS, _AGE and _BYTES, by default. */
const KEPT = { events: 10_000, seconds: 86_400, bytes: 64 * 2 ** 20 }
/** FANWIRE_LINGER, seconds: how long a channel is still followed after its last reader. */
const LINGER = 10
/** Default of FANWIRE_MAX_FOLLOWED; below, default of Redis' maxclients. */
const MAX_FOLLOWED = 50_000
const MAX_REDIS_CLIENTS = 10_000
/** Bytes of a message in addition to the event's data: id, time, channel, and Redis' own. */
export const ENVELOPE = 200
/** Connections of a process to each shard: for commands, and for the feed. */
const REDIS_CONNECTIONS = 2
/** Maximum processes of a plan. */
const LIMIT = 2 ** 52

export class ImpossiblePlan extends Error {}

/**
 * The expected number of nodes with at least one reader of a channel, spread at random: each of
 * `readers` is on any of `nodes` with the same probability.
 */
export function reached(nodes: number, readers: number): number {
  if (nodes <= 1) return Math.min(nodes, readers)
  return Math.min(nodes, readers, -nodes * Math.expm1(readers * Math.log1p(-1 / nodes)))
}

/** Raises ImpossiblePlan with the required change. */
export function plan(demand: Demand, costs: Costs): Plan {
  const wire = costs.wires[demand.wire]
  if (wire === undefined) throw new ImpossiblePlan(`the cost of ${demand.wire} was not measured`)
  if (wire.memory === undefined)
    throw new ImpossiblePlan(`the memory of a ${demand.wire} client was not measured`)
  const { clients, channels, rate, utilisation, coresPerNode } = demand
  const readersPerChannel = (clients * demand.channelsPerClient) / channels
  const eventsPerChannel = rate / channels
  const eventsPerClient = eventsPerChannel * demand.channelsPerClient

  const asked = wire.timed
    ? costAt(wire.points, eventsPerClient * demand.every)
    : costAt(wire.points, eventsPerClient)
  const perSecond = wire.timed ? 1 / demand.every : 1
  const larger = (demand.size - costs.size) * eventsPerClient
  const client = {
    cpu: asked.cpu * perSecond,
    in: Math.max(0, asked.in * perSecond + larger),
    out: asked.out * perSecond,
    memory: wire.memory * 1024,
  }
  const visits = readersPerChannel * visitsOf(demand, eventsPerClient)
  const reach = (processes: number) => reached(processes, visits)

  const core = utilisation * 1e6
  const memory = ((demand.memoryPerNode * 2 ** 30) / coresPerNode) * utilisation - costs.nodeMemory - RECENT
  if (memory <= 0) {
    throw new ImpossiblePlan(
      `--memory-per-node ${demand.memoryPerNode} is too little for ${coresPerNode} processes, without any client`,
    )
  }
  const link = ((demand.networkPerNode * 1e9) / 8 / coresPerNode) * utilisation
  const used = (processes: number): Record<Resource, number> => ({
    CPU: (clients * client.cpu + rate * reach(processes) * costs.event) / core,
    memory: (clients * client.memory + channels * reach(processes) * costs.channelMemory) / memory,
    connections: clients / demand.connectionsPerProcess,
    network: (clients * client.in) / link,
  })
  const least = (resource: Resource) => leastThat(processes => used(processes)[resource] <= processes)
  const needs = {
    CPU: least('CPU'),
    memory: least('memory'),
    connections: least('connections'),
    network: least('network'),
  }
  const processes = Math.max(...RESOURCES.map(resource => needs[resource]))
  const binds = RESOURCES.find(resource => needs[resource] === processes) ?? 'CPU'

  const needed = Math.ceil(processes / coresPerNode)
  const edges = needed + 1
  const there = edges * coresPerNode
  const reaches = reach(there)
  const writerProcesses = Math.max(1, Math.ceil((rate * costs.publish) / core))
  const redis = redisOf(demand, costs, reaches, there + writerProcesses)
  const perProcess = {
    clients: clients / there,
    channels: (channels * reaches) / there,
    cpu: (used(there).CPU / there) * utilisation,
    memory:
      costs.nodeMemory +
      RECENT +
      (clients * client.memory + channels * reaches * costs.channelMemory) / there,
  }
  const lost = clients / edges
  return {
    demand,
    readersPerChannel,
    eventsPerChannel,
    eventsPerClient,
    deliveriesPerSecond: clients * eventsPerClient,
    needs,
    processes,
    binds,
    edges,
    writerProcesses,
    writers: Math.ceil(writerProcesses / coresPerNode) + 1,
    each: perProcess,
    comeback: lost / ((there - coresPerNode) * costs.comeback),
    reach: reaches,
    redis,
    gbitOut: (clients * client.in * 8) / 1e9,
    gbitIn: (clients * client.out * 8) / 1e9,
    warnings: warnings(demand, costs, perProcess.channels, reaches, redis.connections),
  }
}

/**
 * How often a client counts as a reader when a node counts followed channels: a polling client behind a load
 * balancer reaches any node, and leaves the channel followed there for a while.
 */
function visitsOf({ wire, every }: Demand, eventsPerClient: number): number {
  if (wire === 'poll' || wire === 'refresh') return Math.max(1, LINGER / every)
  return wire === 'long-poll' ? 1 + LINGER * eventsPerClient : 1
}

function redisOf(demand: Demand, costs: Costs, reach: number, processes: number): Plan['redis'] {
  const { channels, rate, size } = demand
  const cpu = (rate * (costs.redis.event + reach * costs.redis.message)) / 1e6
  const kept = Math.min(KEPT.events, (rate / channels) * KEPT.seconds, KEPT.bytes / (size + ENVELOPE))
  const eventMemory = Math.max(1, costs.redis.eventMemory + size - costs.size)
  const memory = channels * (costs.redis.channelMemory + kept * eventMemory)
  return {
    shards: Math.max(1, Math.ceil(cpu / REDIS_CORE), Math.ceil(memory / REDIS_MEMORY)),
    cpu,
    memory,
    gbitOut: (rate * reach * (size + ENVELOPE) * 8) / 1e9,
    connections: processes * REDIS_CONNECTIONS,
  }
}

function warnings(
  demand: Demand,
  costs: Costs,
  channels: number,
  reach: number,
  connections: number,
): string[] {
  const one = ((demand.rate / demand.channels) * (costs.redis.event + reach * costs.redis.message)) / 1e6
  return [
    ...(one > REDIS_CORE
      ? ['One channel alone needs more than a Redis core can do, and a channel cannot be divided.']
      : []),
    ...(channels > MAX_FOLLOWED
      ? [`A process follows ${Math.ceil(channels).toLocaleString('en')} channels: set FANWIRE_MAX_FOLLOWED.`]
      : []),
    ...(connections > MAX_REDIS_CLIENTS
      ? [
          `Each Redis shard has ${connections.toLocaleString('en')} connections: raise its maxclients; that many have not been measured.`,
        ]
      : []),
    ...(demand.size > 4 * costs.size
      ? [`CPU was measured with events of ${costs.size} bytes; larger ones cost more than is counted here.`]
      : []),
  ]
}

/** The smallest number from 1 on that fits. All larger numbers must fit too. */
function leastThat(fits: (processes: number) => boolean): number {
  let high = 1
  while (!fits(high)) {
    high *= 2
    if (high > LIMIT) throw new ImpossiblePlan('no number of nodes would be enough')
  }
  let low = Math.floor(high / 2)
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (fits(middle)) high = middle
    else low = middle
  }
  return high
}
