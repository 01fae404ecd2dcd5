// The approximate usage of users and keys on other nodes: at most once a second, each node reports the usage of users and
// keys near a limit, and the other nodes apply it to their own limits.

import { USAGE } from '../control/channels.ts'
import { draftOf, type Entry, Tail } from '../control/tail.ts'
import type { Logger } from '../logger.ts'
import type { ChannelLog } from '../log/log.ts'
import type { Held } from './holds.ts'
import type { Holder } from './limited.ts'
import type { Limits } from './limits.ts'

const REPORT_MS = 1000
/** Holds are reported again after this time, and expire if they were not reported for longer, ms. */
const REPEAT_MS = 5000
const EXPIRES_MS = 15_000
const START_MS = 5000
/** The maximum entries per event, and per second. The rest is reported in the next second. */
const PIECE = 1000
const MOST = 10_000
const SHARED: readonly Holder[] = ['user', 'key']

type Taken = readonly [table: string, name: string, count: number, burst: number, perSecond: number]
type Holding = readonly [scope: Holder, name: string, connections: number, subscriptions: number]

interface Report {
  readonly node: string
  readonly taken?: readonly Taken[]
  readonly held?: readonly Holding[]
}

export interface UsageOptions {
  readonly log: ChannelLog
  readonly logger: Logger
  readonly limits: Limits
  readonly nodes: { readonly id: string; list(): readonly unknown[] }
  /** Whether rules limit the rates of users. */
  readonly rulesHaveRates: () => boolean
  /** A clock that only goes forward, ms; for tests. */
  readonly now?: () => number
}

export class Usage {
  readonly #options: UsageOptions
  readonly #now: () => number
  readonly #tail: Tail
  /** The holds that this node has reported, by scope and name. */
  readonly #reported = new Map<
    string,
    Held & { readonly scope: Holder; readonly name: string; readonly at: number }
  >()
  /** The holds of other nodes, by scope, name and node. */
  readonly #others = new Map<string, Map<string, Held & { readonly at: number }>>()
  #timer: NodeJS.Timeout | undefined
  #reporting = false

  constructor(options: UsageOptions) {
    this.#options = options
    this.#now = options.now ?? (() => performance.now())
    const { log, logger, limits } = options
    this.#tail = new Tail({
      log,
      channel: USAGE,
      from: 'latest',
      logger,
      entry: entry => this.#apply(entry),
    })
    limits.holds.others = (scope, name) => this.#heldElsewhere(scope, name)
  }

  /** Begins if limits are shared between nodes. Does not raise. */
  async open(within = START_MS): Promise<void> {
    const { limits, rulesHaveRates } = this.#options
    if (this.#timer !== undefined || !(limits.shares || rulesHaveRates())) return
    limits.sharing = true
    this.#timer = setInterval(() => void this.report(), REPORT_MS).unref()
    await this.#tail.open(within)
  }

  close(): void {
    clearInterval(this.#timer)
    this.#tail.close()
  }

  /** Reports the usage that is due, unless this is the only node. Does not raise. */
  async report(): Promise<void> {
    this.#forget()
    const nodes = this.#options.nodes.list().length
    if (this.#reporting) return
    if (nodes < 2) return this.#forgetSpent()
    this.#reporting = true
    const taken = this.#taken(nodes)
    const held = this.#held(nodes)
    const { id: node } = this.#options.nodes
    const pieces: Report[] = []
    for (let at = 0; at < Math.max(taken.length, held.length); at += PIECE) {
      pieces.push({ node, taken: taken.slice(at, at + PIECE), held: held.slice(at, at + PIECE) })
    }
    try {
      if (pieces.length > 0)
        await this.#options.log.append(
          USAGE,
          pieces.map(piece => draftOf('usage', piece)),
        )
    } catch {
      // The log is unavailable, and reports that itself. These reports are lost: until it recovers, limits apply per node.
    }
    this.#reporting = false
  }

  /** The unreported consumption on this node that is above half of its share. */
  #taken(nodes: number): Taken[] {
    const now = this.#now()
    const taken: Taken[] = []
    const { spent } = this.#options.limits
    for (const [bucket, { table, name, allowance }] of spent) {
      if (taken.length === MOST) break
      const { burst, perSecond } = allowance
      if (bucket.unreported > burst / nodes / 2)
        taken.push([table, name, bucket.unreported, burst, perSecond])
      else if (!bucket.isFull(allowance, now)) continue
      bucket.unreported = 0
      spent.delete(bucket)
    }
    return taken
  }

  /** The changed holds on this node that are, or were when last reported, above half of its share. */
  #held(nodes: number): Holding[] {
    const now = this.#now()
    const { holds } = this.#options.limits
    const found: Holding[] = []
    const add = (scope: Holder, name: string, { connections, subscriptions }: Readonly<Held>) => {
      found.push([scope, name, connections, subscriptions])
    }
    for (const scope of SHARED) {
      const most = holds.mostOf(scope)
      if (most === undefined) continue
      for (const [name, held] of holds.of(scope)) {
        if (found.length >= MOST) return found
        if (!isNear(held, most, nodes)) continue
        const id = idOf(scope, name)
        const reported = this.#reported.get(id)
        if (reported !== undefined && isSame(reported, held) && now - reported.at < REPEAT_MS) continue
        this.#reported.set(id, { scope, name, ...held, at: now })
        add(scope, name, held)
      }
      for (const [id, reported] of this.#reported) {
        if (reported.scope !== scope || found.length >= MOST) continue
        const held = holds.of(scope).get(reported.name)
        if (held !== undefined && isNear(held, most, nodes)) continue
        this.#reported.delete(id)
        add(scope, reported.name, held ?? { connections: 0, subscriptions: 0 })
      }
    }
    return found
  }

  #apply({ data }: Entry): void {
    const { node, taken = [], held = [] } = data as Report
    if (node === this.#options.nodes.id) return
    const { limits } = this.#options
    for (const [table, name, count, burst, perSecond] of taken) {
      limits.spentElsewhere(table, name, count, { burst, perSecond })
    }
    const at = this.#now()
    for (const [scope, name, connections, subscriptions] of held) {
      const id = idOf(scope, name)
      const by = this.#others.get(id) ?? new Map<string, Held & { readonly at: number }>()
      if (connections === 0 && subscriptions === 0) by.delete(node)
      else by.set(node, { connections, subscriptions, at })
      if (by.size === 0) this.#others.delete(id)
      else this.#others.set(id, by)
    }
  }

  #heldElsewhere(scope: Holder, name: string): Held {
    const sum = { connections: 0, subscriptions: 0 }
    if (this.#others.size === 0) return sum
    const oldest = this.#now() - EXPIRES_MS
    for (const { connections, subscriptions, at } of this.#others.get(idOf(scope, name))?.values() ?? []) {
      if (at < oldest) continue
      sum.connections += connections
      sum.subscriptions += subscriptions
    }
    return sum
  }

  /** Forgets usage that was refilled meanwhile, which need not be reported. */
  #forgetSpent(): void {
    const now = this.#now()
    for (const [bucket, { allowance }] of this.#options.limits.spent) {
      if (!bucket.isFull(allowance, now)) continue
      bucket.unreported = 0
      this.#options.limits.spent.delete(bucket)
    }
  }

  #forget(): void {
    const oldest = this.#now() - EXPIRES_MS
    for (const [id, by] of this.#others) {
      for (const [node, { at }] of by) if (at < oldest) by.delete(node)
      if (by.size === 0) this.#others.delete(id)
    }
  }
}

function idOf(scope: Holder, name: string): string {
  return `${scope} ${name}`
}

function isSame(a: Readonly<Held>, b: Readonly<Held>): boolean {
  return a.connections === b.connections && a.subscriptions === b.subscriptions
}

function isNear(held: Readonly<Held>, most: Readonly<Held>, nodes: number): boolean {
  const near = (count: keyof Held) => most[count] > 0 && held[count] > most[count] / nodes / 2
  return near('connections') || near('subscriptions')
}
