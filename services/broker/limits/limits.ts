// Rate limits and quotas of addresses, users, keys and connections.

import type { Rule } from '../rules/rules.ts'
import { type Allowance, Bucket, Buckets } from './buckets.ts'
import { Holds } from './holds.ts'
import { Hits, type LimitSettings, nameOf, type Party, type Rate, type Scope } from './limited.ts'

const SCOPES = ['address', 'user', 'key', 'connection'] as const
const RATES = ['requests', 'publishes', 'bytes'] as const

/** One rate limit with its buckets. */
interface Flow {
  readonly scope: (typeof SCOPES)[number]
  readonly rate: Rate
  readonly allowance: Allowance
  /** By name. Connections have separate buckets. */
  readonly buckets: Buckets
}

/** A bucket that is shared with other nodes. */
export interface Spent {
  readonly table: string
  readonly name: string
  readonly allowance: Allowance
}

const RULES = 'rule'
/** The maximum number of buckets whose consumption is remembered for other nodes. */
const MOST_SPENT = 100_000

/** A bucket, and the cost that is taken from it. */
interface Tap {
  readonly scope: Scope
  readonly rate: Rate
  readonly allowance: Allowance
  readonly bucket: Bucket
  readonly cost: number
  /** Set for a user or a key, whose limit holds over all nodes. */
  readonly name?: string
}

export interface LimitsOptions {
  /** A clock that only goes forward, ms; for tests. */
  readonly now?: () => number
}

export class Limits {
  /** For metrics. */
  readonly hits = new Hits()
  readonly holds: Holds
  /** Whether there are other nodes, which have to learn the usage. */
  sharing = false
  /** Buckets whose consumption other nodes may have to know; only if limits are shared. */
  readonly spent = new Map<Bucket, Spent>()
  readonly #now: () => number
  readonly #flows: Readonly<Record<Rate, readonly Flow[]>>
  /** The buckets of rules, by rule and user, or address. */
  readonly #rules = new Buckets()

  constructor(settings: LimitSettings, { now = () => performance.now() }: LimitsOptions = {}) {
    this.#now = now
    this.holds = new Holds(settings, this.hits)
    const flowsOf = (rate: Rate) =>
      SCOPES.map(scope => ({
        scope,
        rate,
        allowance: settings[`${scope}${capital(rate)}`],
        buckets: new Buckets(),
      })).filter(({ allowance }) => allowance.perSecond > 0)
    this.#flows = {
      requests: flowsOf('requests'),
      publishes: flowsOf('publishes'),
      bytes: flowsOf('bytes'),
    }
  }

  /** The number of addresses, users and keys that are remembered. */
  get size(): number {
    const flows = RATES.flatMap(rate => this.#flows[rate])
    return flows.reduce((sum, { buckets }) => sum + buckets.size, this.#rules.size + this.holds.size)
  }

  /** Whether the settings limit users or keys. */
  get shares(): boolean {
    if (RATES.some(rate => this.has(rate, 'user', 'key'))) return true
    return this.holds.mostOf('user') !== undefined || this.holds.mostOf('key') !== undefined
  }

  /** Takes tokens that were spent on another node. `allowance` is needed for rules only. */
  spentElsewhere(table: string, name: string, count: number, allowance: Allowance): void {
    const now = this.#now()
    if (table === RULES) return this.#rules.of(name, allowance, now).debit(allowance, count, now)
    const flow = RATES.flatMap(rate => this.#flows[rate]).find(flow => tableOf(flow) === table)
    flow?.buckets.of(name, flow.allowance, now).debit(flow.allowance, count, now)
  }

  /** Whether there is such a limit. */
  has(rate: Rate, ...scopes: Flow['scope'][]): boolean {
    return this.#flows[rate].some(({ scope }) => scopes.includes(scope))
  }

  /** Counts a request or a command. Raises FW_TOO_MANY_REQUESTS. */
  request(party: Party): void {
    if (this.#flows.requests.length === 0) return
    const now = this.#now()
    this.#spend(this.#taps('requests', party, 1, now), now)
  }

  /**
   * Counts one event of that many bytes, under the rule of its channel. Raises FW_TOO_MANY_REQUESTS: then nothing is
   * counted.
   */
  publish(party: Party, rule: Pick<Rule, 'match' | 'rate'>, bytes: number): void {
    if (!this.#limitsPublishes(rule)) return
    const now = this.#now()
    this.#spend(this.#publishTaps(party, rule, bytes, now), now)
  }

  /**
   * Checks whether an event will be allowed, before its body is read, without counting it. Raises FW_TOO_MANY_REQUESTS.
   */
  foresee(party: Party, rule: Pick<Rule, 'match' | 'rate'>, bytes: number): void {
    if (!this.#limitsPublishes(rule)) return
    const now = this.#now()
    this.#check(this.#publishTaps(party, rule, bytes, now), now)
  }

  #limitsPublishes({ rate }: Pick<Rule, 'rate'>): boolean {
    const { publishes, bytes } = this.#flows
    return publishes.length > 0 || bytes.length > 0 || rate !== undefined
  }

  #publishTaps(party: Party, rule: Pick<Rule, 'match' | 'rate'>, bytes: number, now: number): Tap[] {
    return [
      ...this.#taps('publishes', party, 1, now),
      ...this.#taps('bytes', party, bytes, now),
      ...this.#ruleTaps(party, rule, now),
    ]
  }

  #taps(rate: Rate, party: Party, cost: number, now: number): Tap[] {
    return this.#flows[rate].flatMap(({ scope, allowance, buckets }): Tap[] => {
      if (scope === 'connection') {
        if (party.connection === undefined) return []
        const bucket = (party.connection[rate] ??= new Bucket())
        return [{ scope, rate, allowance, bucket, cost }]
      }
      const name = nameOf(scope, party)
      if (name === undefined) return []
      const bucket = buckets.of(name, allowance, now)
      return [{ scope, rate, allowance, bucket, cost, ...(scope === 'address' ? {} : { name }) }]
    })
  }

  /** Rules do not apply to API keys. */
  #ruleTaps(party: Party, { match, rate }: Pick<Rule, 'match' | 'rate'>, now: number): Tap[] {
    if (rate === undefined || party.identity?.kind === 'key') return []
    const user = nameOf('user', party)
    const name = user === undefined ? `${match} address ${party.address ?? ''}` : `${match} user ${user}`
    const allowance = { burst: rate.burst, perSecond: rate.publish }
    const bucket = this.#rules.of(name, allowance, now)
    const shared = user === undefined ? {} : { name }
    return [{ scope: 'rule', rate: 'publishes', allowance, bucket, cost: 1, ...shared }]
  }

  /** Raises FW_TOO_MANY_REQUESTS if one of the buckets does not have enough tokens. */
  #check(taps: readonly Tap[], now: number): void {
    let longest = 0
    let by: Tap | undefined
    for (const tap of taps) {
      const wait = tap.bucket.wait(tap.allowance, tap.cost, now)
      if (wait <= longest) continue
      longest = wait
      by = tap
    }
    if (by !== undefined) throw this.hits.hit(by.rate, by.scope, longest)
  }

  /** Takes from all buckets or from none. */
  #spend(taps: readonly Tap[], now: number): void {
    this.#check(taps, now)
    for (const tap of taps) {
      const { bucket, allowance, cost, name } = tap
      bucket.spend(allowance, cost, now)
      if (this.sharing && name !== undefined && this.spent.size < MOST_SPENT)
        this.spent.set(bucket, { table: tableOf(tap), name, allowance })
    }
  }
}

function tableOf({ scope, rate }: Pick<Tap, 'scope' | 'rate'>): string {
  return scope === 'rule' ? RULES : `${rate} ${scope}`
}

function capital<T extends string>(text: T): Capitalize<T> {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}` as Capitalize<T>
}
