// Formats a plan for the terminal and the documents.

import { table } from '../report.ts'
import type { Costs } from './costs.ts'
import {
  DEFAULTS,
  type Demand,
  ENVELOPE,
  type Plan,
  plan,
  REDIS_CORE,
  REDIS_MEMORY,
  RESOURCES,
} from './model.ts'
import { cpuTime, events, percent, short, whole } from './report/print.ts'

const gigabytes = (bytes: number) =>
  bytes >= 2 ** 29 ? `${short(bytes / 2 ** 30)} GiB` : `${short(bytes / 2 ** 20)} MiB`
const gbit = (value: number) => (value >= 0.1 ? `${short(value)} Gbit/s` : `${short(value * 1000)} Mbit/s`)
const many = (count: number, one: string) => `${whole(count)} ${one}${count === 1 ? '' : 's'}`
/** Formats a rate. */
const perSecond = (rate: number) =>
  rate === 0 ? 'none' : rate >= 0.1 ? `${short(rate)} a second` : `one every ${short(1 / rate)} s`

export function printed(found: Plan, costs: Costs): string {
  return [
    meaning(found.demand),
    table(['', ''], rows(found), [0, 1]),
    ...found.warnings.map(text => `! ${text}`),
    `Assumed:\n${assumptions(found.demand, costs)
      .map(text => `- ${text}`)
      .join('\n')}`,
  ].join('\n\n')
}

/** The request, worded so that `--rate` cannot be misunderstood. */
export function meaning(demand: Demand): string {
  const { clients, channels, rate, wire, channelsPerClient } = demand
  const every = wire === 'poll' || wire === 'refresh' ? ` every ${demand.every} s` : ''
  return (
    `${many(clients, 'client')} over ${wire}${every}, each on ${many(channelsPerClient, 'channel')} of ${whole(channels)}; ` +
    `${events(rate)} ${rate === 1 ? 'is' : 'are'} published over all channels together, each read by clients × ` +
    `${channelsPerClient === 1 ? '' : `${channelsPerClient} `}/ channels = ${short((clients * channelsPerClient) / channels)} clients; ` +
    `${demand.size} bytes an event.`
  ).replace('× /', '/')
}

function rows(found: Plan): string[][] {
  const { demand, needs, each, redis } = found
  const asks = RESOURCES.map(name => `${name} ${whole(needs[name])}`).join(', ')
  return [
    [
      'deliveries',
      `${short(found.deliveriesPerSecond)} a second; a client gets ${perSecond(found.eventsPerClient)}`,
    ],
    [
      'edge processes',
      `${whole(found.processes)}, one per core, bound by ${found.binds} (each resource alone would need: ${asks})`,
    ],
    [
      'edge nodes',
      `${whole(found.edges)}, each with ${many(demand.coresPerNode, 'core')} and ${demand.memoryPerNode} GiB; one of them may be lost`,
    ],
    [
      'each process',
      `${whole(each.clients)} clients, follows ${whole(each.channels)} channels, ${percent(each.cpu)} % of its core, ${gigabytes(each.memory)}`,
    ],
    [
      'its settings',
      `FANWIRE_MAX_CONNECTIONS=${demand.connectionsPerProcess}, ulimit -n ${Math.ceil(demand.connectionsPerProcess * 1.25)}, WORKERS=${demand.coresPerNode}`,
    ],
    [
      'a node is lost',
      `its ${whole(demand.clients / found.edges)} clients are back on the others within ${short(Math.max(1, found.comeback))} s`,
    ],
    [
      'writer nodes',
      `${whole(found.writers)} (processes: ${whole(found.writerProcesses)}; one node may be lost); if the edges are few, they can also write, with ROLE=all`,
    ],
    [
      'Redis',
      `${many(redis.shards, 'shard')}, each with a replica; ${short(redis.cpu)} cores, ${gigabytes(redis.memory)} with the default history, ` +
        `${gbit(redis.gbitOut)} out, ${whole(redis.connections)} connections each`,
    ],
    ['an event reaches', `${short(found.reach)} processes`],
    ['network', `${gbit(found.gbitOut)} towards clients, ${gbit(found.gbitIn)} from them, over all edges`],
  ]
}

export function assumptions(demand: Demand, costs: Costs): string[] {
  const wire = costs.wires[demand.wire]
  const { redis } = costs
  return [
    `Costs of one machine with few cores (${costs.machine}, Node ${costs.node}, ${costs.date.slice(0, 10)}), measured by ` +
      `${costs.commands.join(', ')} with one node and at most some thousand clients: everything beyond that is extrapolated.`,
    `A ${demand.wire} client: ${wire?.memory === undefined ? '?' : short(wire.memory)} KB; CPU and bytes as measured ${wire?.timed ? 'per request, by the events in its response' : 'per second, by its events'}: ` +
      `${wire?.points.map(each => `${short(each.events)} (${cpuTime(each.cpu)})`).join(', ')}, ` +
      'linear between these, and proportional beyond; savings by coalescing count only as far as they were measured.' +
      (wire?.idleOf === undefined ? '' : ` An idle one costs as much as one of ${wire.idleOf}.`),
    `An event costs ${short(costs.event)} µs more in every process that it reaches; if the k readers of a channel are spread at random over P processes, ` +
      'it reaches P × (1 - (1 - 1/P)^k) of them. A client that polls may reach a different process each time.',
    `A process: ${short(costs.nodeMemory / 2 ** 20)} MiB, 256 MiB of recent events (FANWIRE_MEMORY), ${short(costs.channelMemory / 1024)} KB per followed channel.`,
    `Publishing: ${short(costs.publish)} µs of a writer per event, each in a separate request; NDJSON costs less.`,
    `Redis: ${short(redis.event)} µs per event, and ${short(redis.message)} µs for each process that it reaches; a shard uses at most ${REDIS_CORE * 100} % of a core and ${REDIS_MEMORY / 2 ** 30} GiB; ` +
      `channels are spread evenly over the shards (a Cluster with sharded pub/sub); messages have ${ENVELOPE} bytes in addition to the data; the history has ` +
      '10,000 events, 24 h or 64 MiB per channel.',
    `${percent(demand.utilisation)} % of cores, memory and links are used; events and clients are spread evenly, over channels and time. A burst, or one hot channel, needs more.`,
    `A process reconnects ${whole(costs.comeback)} clients per second. Clients return at different times (retry with jitter), without TLS; TLS costs more.`,
  ]
}

/** The commands shown in the documents, from small to larger than any measurement. */
export const EXAMPLES: readonly (Pick<Demand, 'clients' | 'channels' | 'rate'> & {
  readonly title: string
})[] = [
  { title: '10 thousand clients', clients: 10_000, channels: 1000, rate: 100 },
  { title: '1 million clients', clients: 1_000_000, channels: 100_000, rate: 1000 },
  { title: '100 million clients', clients: 100_000_000, channels: 10_000_000, rate: 20_000 },
]

/** The part shown in the documents. */
export function planMarkdown(costs: Costs): string {
  const defaults = { ...DEFAULTS, size: costs.size }
  const plans = EXAMPLES.map(({ title, ...asked }) => ({
    title,
    command: `npx fanwire plan --clients ${asked.clients} --channels ${asked.channels} --rate ${asked.rate} --wire ${defaults.wire}`,
    found: plan({ ...defaults, ...asked }, costs),
  }))
  const line = (name: string, of: (found: Plan) => string) => [name, ...plans.map(({ found }) => of(found))]
  return [
    `\`\`\`sh\n${plans.map(({ command }) => command).join('\n')}\n\`\`\``,
    table(
      ['', ...plans.map(({ title }) => title)],
      [
        line(
          'channels; events/s over all of them',
          each => `${whole(each.demand.channels)}; ${whole(each.demand.rate)}`,
        ),
        line('deliveries/s', each => whole(each.deliveriesPerSecond)),
        line('edge processes, bound by', each => `${whole(each.processes)}, by ${each.binds}`),
        line(`edge nodes of ${defaults.coresPerNode} cores, ${defaults.memoryPerNode} GiB`, each =>
          whole(each.edges),
        ),
        line('writer nodes', each => whole(each.writers)),
        line('Redis shards, each with a replica', each => whole(each.redis.shards)),
        line('memory of an edge process', each => gigabytes(each.each.memory)),
        line('processes that an event reaches', each => short(each.reach)),
        line('towards clients', each => gbit(each.gbitOut)),
        line('out of Redis', each => gbit(each.redis.gbitOut)),
        line('memory of Redis', each => gigabytes(each.redis.memory)),
        line("a lost node's clients are back within", each => `${short(Math.max(1, each.comeback))} s`),
      ],
    ),
    ...plans.flatMap(({ title, found }) => found.warnings.map(text => `- ${title}: ${text}`)),
    `Extrapolated, not measured: the costs are those of one machine with 2 cores (${costs.machine}), one node and some ` +
      'thousand clients. It shows the order of magnitude and the first bottleneck; then measure with `fanwire bench`.',
  ].join('\n\n')
}
