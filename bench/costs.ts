// npm run bench:costs: measures costs that the other benches omit (memory of channels, costs of Redis), and combines
// them with the other results in bench/results/costs.json, the input of `fanwire plan`.

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Redis } from 'ioredis'
import { WebSocket } from 'ws'
import { Arena } from './arena.ts'
import { intoFile, readJson, RESULTS } from './files.ts'
import { fanwire } from './peers/fanwire.ts'
import { cpuOf } from './processes/proc.ts'
import { settled } from './peers/peer.ts'
import type { BenchResult } from './report.ts'
import { type CommonCosts, type Costs, wireCosts } from './transports/costs.ts'
import { ENVELOPE } from './transports/model.ts'
import { planMarkdown } from './transports/plan-text.ts'
import type { TransportsResult } from './transports/result.ts'

const HELP = `npm run bench:costs -- [options]

  --transports FILE  result of npm run bench (bench/results/transports.json)
  --fanout FILE      result of npm run bench:fanout (bench/results/fanout.json)
  --docs             measure nothing; write the example plans into docs/operate/sizing.md
`

const options = {
  transports: { type: 'string', default: join(RESULTS, 'transports.json') },
  fanout: { type: 'string', default: join(RESULTS, 'fanout.json') },
  docs: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const

const SOCKETS = 200
/** Channels per connection: FANWIRE_MAX_CHANNELS. */
const CHANNELS_EACH = 100
const SUBSCRIBERS = 40
const MESSAGES = 4000
const CHANNELS = 5000
const EVENTS = 50_000

async function follow(port: number, channels: readonly string[]): Promise<WebSocket> {
  const query = channels.map(channel => `channel=${channel}`).join('&')
  const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/ws?${query}`)
  await new Promise((resolve, reject) => {
    socket.once('message', resolve)
    socket.once('error', reject)
  })
  return socket
}

/** Measures memory for the same number of readers, first on a few channels, then on one channel each. */
async function nodeMemory(arena: Arena): Promise<Pick<CommonCosts, 'nodeMemory' | 'channelMemory'>> {
  const names = (prefix: string) => Array.from({ length: CHANNELS_EACH }, (_, i) => `${prefix}${i}`)
  const open: WebSocket[] = []
  const connect = async (prefix: (socket: number) => string) => {
    for (let i = 0; i < SOCKETS; i++) open.push(await follow(arena.peer.port, names(prefix(i))))
    return settled(arena.peer)
  }
  // Warm-up: the first connections make the node load and compile code.
  open.push(await follow(arena.peer.port, ['first']))
  const none = await settled(arena.peer)
  const shared = await connect(() => 'shared-')
  const own = await connect(i => `own-${i}-`)
  for (const socket of open) socket.terminate()
  const channelMemory = (own - shared - (shared - none)) / ((SOCKETS - 1) * CHANNELS_EACH)
  return { nodeMemory: none, channelMemory: Math.max(0, channelMemory) }
}

/** CPU of Redis to deliver a message to one more subscriber. One message at a time, as under low load. */
async function messageCpu({ redis }: Arena, size: number): Promise<number> {
  const message = 'x'.repeat(size + ENVELOPE)
  const client = new Redis(redis.url)
  const subscribers: Redis[] = []
  const cpuWith = async (count: number): Promise<number> => {
    while (subscribers.length < count) {
      const subscriber = new Redis(redis.url)
      subscribers.push(subscriber)
      await subscriber.subscribe('cost')
    }
    const before = cpuOf(redis.server.pids).all
    for (let i = 0; i < MESSAGES; i++) await client.publish('cost', message)
    return (cpuOf(redis.server.pids).all - before) / MESSAGES
  }
  try {
    const one = await cpuWith(1)
    const many = await cpuWith(1 + SUBSCRIBERS)
    return Math.max(0, many - one) / SUBSCRIBERS
  } finally {
    for (const each of [client, ...subscribers]) each.disconnect()
  }
}

async function redisMemory(
  { redis, peer }: Arena,
  size: number,
): Promise<Pick<CommonCosts['redis'], 'channelMemory' | 'eventMemory'>> {
  const client = new Redis(redis.url)
  const used = async () => Number(/used_memory:(\d+)/.exec(await client.info('memory'))?.[1])
  const publish = async (count: number, channels: number) => {
    const data = 'x'.repeat(size - 2)
    const lines = Array.from({ length: count }, (_, i) =>
      JSON.stringify({ channel: `kept-${i % channels}`, data }),
    )
    const answer = await fetch(`http://127.0.0.1:${peer.port}/v1/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-ndjson' },
      body: lines.join('\n'),
    })
    if ((await answer.text()).includes('"error"')) throw new Error('events were rejected')
  }
  try {
    await publish(1, 1)
    const none = await used()
    await publish(CHANNELS, CHANNELS)
    const one = await used()
    await publish(EVENTS, CHANNELS / 100)
    const many = await used()
    const eventMemory = (many - one) / EVENTS
    return { eventMemory, channelMemory: (one - none) / CHANNELS - eventMemory }
  } finally {
    client.disconnect()
  }
}

/** Figures from the results of the other benches. Raises if one is missing. */
function known(transports: TransportsResult, fanout: BenchResult) {
  const rows = (name: string) =>
    fanout.cases.find(each => each.name === name)?.rows.filter(({ peer }) => peer === 'fanwire') ?? []
  const [many] = rows('many')
  const [calm] = rows('calm')
  const after = Math.max(...rows('storm').flatMap(({ figures }) => figures.caughtUpAfter ?? []))
  const published = transports.cells.filter(({ line }) => line.wire === 'publish').at(-1)?.cpuPerEvent
  const figures = { ...many?.figures }
  if (figures.cpuPerEvent === undefined || figures.redisCpuPerEvent === undefined || !(after > 0)) {
    throw new Error('fanout.json lacks the cases many and storm: npm run bench:fanout')
  }
  if (published === undefined) throw new Error('transports.json lacks publishing: npm run bench')
  return {
    publish: published,
    // The measured cost of an event includes one delivery.
    event: Math.max(0, figures.cpuPerEvent - (calm?.figures.cpuPerDelivery ?? 0)),
    redisEvent: figures.redisCpuPerEvent,
    comeback: STORM / after,
  }
}

/** Readers that reconnect in the case `storm`. */
const STORM = 5000

async function measure(transports: TransportsResult, fanout: BenchResult): Promise<Costs> {
  const { publish, event, redisEvent, comeback } = known(transports, fanout)
  return Arena.with(fanwire, { profile: undefined, throughRedis: true }, async arena => {
    const node = await nodeMemory(arena)
    const message = await messageCpu(arena, transports.size)
    const memory = await redisMemory(arena, transports.size)
    return {
      machine: transports.machine,
      node: transports.node,
      date: transports.date,
      commands: [transports.command, fanout.command, 'npm run bench:costs'],
      size: transports.size,
      ...node,
      publish,
      event,
      comeback,
      // The measured event has one subscriber.
      redis: { event: Math.max(0, redisEvent - message), message, ...memory },
      wires: wireCosts(transports),
    }
  })
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options })
  if (values.help) return void process.stdout.write(HELP)
  const file = join(RESULTS, 'costs.json')
  if (values.docs) {
    return intoFile('docs/operate/sizing.md', { plan: planMarkdown(await readJson<Costs>(file)) })
  }
  const costs = await measure(
    await readJson<TransportsResult>(values.transports),
    await readJson<BenchResult>(values.fanout),
  )
  await writeFile(file, `${JSON.stringify(costs, null, 2)}\n`)
  const { wires, ...rest } = costs
  process.stdout.write(
    `${JSON.stringify(rest, null, 2)}\nwith ${Object.keys(wires).join(', ')}: written to ${file}\n`,
  )
}

await main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`)
  process.exitCode = 1
})
