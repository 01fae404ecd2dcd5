// Cuts connections and disturbs servers while events are published, and counts the events of each reader.

import { Random } from '../support/random.ts'
import { type FaultyProxy, startFaultyProxy } from '../support/faulty-proxy.ts'
import { Account, addCounts, type Counts, noCounts } from './account.ts'
import type { Reader, System } from './system.ts'

export interface Asked {
  readonly seed: number
  readonly seconds: number
  readonly readers: number
  /** Number of additional readers that share one connection, as tabs do. */
  readonly tabs: number
  /** Whether servers are killed and restarted as well. */
  readonly servers: boolean
  say?(line: string): void
}

export interface Result extends Counts {
  readonly name: string
  readonly seed: number
  readonly seconds: number
  readonly readers: number
  readonly cuts: number
  readonly published: number
  /** Number of disturbances by description. */
  readonly happened: Readonly<Record<string, number>>
  /** Number of readers that had not seen the last event a minute after it was published. */
  readonly stuck: number
}

/** Minimum number of response bytes after which a connection is cut. */
const CUT_FROM = 100
/** Maximum number of random bytes beyond that. */
const CUT_SPAN = 8000
/** Interval between two events of a channel, ms. */
const PUBLISH_MS = 25
/** Mean interval between two disturbances of readers, ms. */
const DISTURB_MS = 250
/** Interval between two disturbances of servers, ms. */
const SERVERS_MS = 2500
/** Maximum time until the last events arrive, ms. */
const SETTLE_MS = 60_000

const sleep = (ms: number) => new Promise<void>(resolve => setTimeout(resolve, ms))

interface Followed {
  readonly proxy: FaultyProxy
  readonly reader: Reader
  readonly accounts: ReadonlyMap<string, Account>
}

export async function prove(system: System, asked: Asked): Promise<Result> {
  const random = new Random(asked.seed)
  const happened: Record<string, number> = {}
  const count = (what: string) => (happened[what] = (happened[what] ?? 0) + 1)
  const published = new Map(system.channels.map(channel => [channel, 0]))
  const proxies: FaultyProxy[] = []
  const proxyOf = async () => {
    const proxy = await startFaultyProxy(0, { cutAfter: () => CUT_FROM + random.below(CUT_SPAN) })
    proxy.target = system.port
    proxies.push(proxy)
    return proxy
  }
  const begin = (proxy: FaultyProxy, shared: boolean): Followed => {
    const accounts = new Map<string, Account>()
    const of = (channel: string, n: number) => {
      const account = accounts.get(channel) ?? new Account(system.fromStart ? 0 : n - 1)
      accounts.set(channel, account)
      return account
    }
    const hear = {
      event: (channel: string, n: number) => of(channel, n).event(n),
      gap: (channel: string) => accounts.get(channel)?.gap(),
    }
    // A gap may precede the first event, so accounts exist from the start.
    if (system.fromStart) for (const channel of system.channels) of(channel, 1)
    return { proxy, accounts, reader: system.follow(proxy.url, hear, { random, shared }) }
  }

  const followed: Followed[] = []
  for (let i = 0; i < asked.readers; i++) followed.push(begin(await proxyOf(), false))
  const shared = asked.tabs > 0 ? await proxyOf() : undefined
  for (let i = 0; i < asked.tabs && shared; i++) followed.push(begin(shared, true))
  const entrance = await proxyOf()

  const isDone = ({ accounts }: Followed) =>
    [...published].every(([channel, n]) => (accounts.get(channel)?.last ?? 0) >= n)
  /** Publishes to each channel until every reader has seen the last event. */
  const settle = async () => {
    const deadline = Date.now() + SETTLE_MS
    // Some clients notice a loss only with the next event. More events follow for clients that were not connected yet.
    for (let next = 0; next === 0 || (!followed.every(isDone) && Date.now() < deadline); await sleep(50)) {
      if (next++ % 40 > 0) continue
      for (const [channel, n] of published) {
        await system.publish(entrance.url, channel, n + 1)
        published.set(channel, n + 1)
      }
    }
  }
  // All readers start before the events that count, because events that a channel drops before that are not lost.
  await settle()

  const end = Date.now() + asked.seconds * 1000
  const running = () => Date.now() < end

  const publishing = [...published.keys()].map(async channel => {
    for (; running(); await sleep(PUBLISH_MS)) {
      const n = (published.get(channel) ?? 0) + 1
      await system.publish(entrance.url, channel, n)
      published.set(channel, n)
    }
  })

  const disturbing = async () => {
    for (; running(); await sleep(DISTURB_MS * (0.5 + Math.random()))) {
      const one = random.pick(followed)
      count(disturbReader(one, random) ?? 'nothing')
    }
  }
  const disturbingServers = async () => {
    while (asked.servers && running()) {
      await sleep(SERVERS_MS)
      const what = await system.disturb(random)
      count(what)
      asked.say?.(`${what}; ${cutsOf(proxies)} cuts, ${[...published.values()].join('+')} events`)
    }
  }
  await Promise.all([...publishing, disturbing(), disturbingServers()])

  for (const { faults } of proxies) {
    Object.assign(faults, {
      blockUpgrades: false,
      buffer: undefined,
      cutAfter: undefined,
      maxAge: undefined,
      refuse: false,
    })
  }
  await settle()

  const sum = noCounts()
  for (const { accounts, reader } of followed) {
    for (const [channel, n] of published) {
      const account = accounts.get(channel)
      if (account !== undefined) addCounts(sum, account.close(n))
    }
    reader.close()
  }
  const result = {
    name: system.name,
    seed: asked.seed,
    seconds: asked.seconds,
    readers: followed.length,
    cuts: cutsOf(proxies),
    published: [...published.values()].reduce((a, b) => a + b, 0),
    happened,
    stuck: followed.filter(each => !isDone(each)).length,
    ...sum,
  }
  for (const proxy of proxies) proxy.close()
  return result
}

const cutsOf = (proxies: readonly FaultyProxy[]) => proxies.reduce((sum, { cuts }) => sum + cuts, 0)

/** Disturbs the network of a reader, or the reader itself. Returns a description. */
function disturbReader({ proxy, reader }: Followed, random: Random): string | undefined {
  const { faults } = proxy
  const forAWhile = <Name extends keyof typeof faults>(name: Name, value: (typeof faults)[Name]) => {
    faults[name] = value
    proxy.cut()
    setTimeout(() => delete faults[name], 500 + random.below(2500)).unref()
  }
  switch (random.below(7)) {
    case 0:
      forAWhile('blockUpgrades', true)
      return 'WebSocket blocked'
    case 1:
      forAWhile('buffer', random.oneIn(2) ? /\/v1\/sse|\/socket.io\/.*polling/ : /\/v1\/(sse|stream)/)
      return 'streams buffered'
    case 2:
      forAWhile('maxAge', 1000)
      return 'connections cut by age'
    case 3:
      forAWhile('refuse', true)
      return 'connections refused'
    case 4:
      proxy.cut()
      return 'moved to another node'
    default:
      return reader.again?.()
  }
}
