// How fast addresses, users, keys and connections may ask and publish, and how much they may hold at a time.

import type { Rule } from '../rules/rules.ts'
import { type Allowance, Bucket, Buckets } from './buckets.ts'
import { Holds } from './holds.ts'
import { Hits, type LimitSettings, nameOf, type Party, type Rate, type Scope } from './limited.ts'

const SCOPES = ['address', 'user', 'key', 'connection'] as const
const RATES = ['requests', 'publishes', 'bytes'] as const

/** One limit of somebody. */
interface Flow {
  readonly scope: (typeof SCOPES)[number]
  readonly rate: Rate
  readonly allowance: Allowance
  /** By name; not those of connections, which keep their own. */
  readonly buckets: Buckets
}

/** A bucket that something is taken from. */
interface Tap {
  readonly scope: Scope
  readonly rate: Rate
  readonly allowance: Allowance
  readonly bucket: Bucket
  readonly cost: number
}

export interface LimitsOptions {
  /** A clock that only goes forward, ms; for tests. */
  readonly now?: () => number
}

export class Limits {
  /** For metrics. */
  readonly hits = new Hits()
  readonly holds: Holds
  readonly #now: () => number
  readonly #flows: Readonly<Record<Rate, readonly Flow[]>>
  /** By rule and user, or address. */
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

  /** Names of addresses, users and keys that are remembered. */
  get size(): number {
    const flows = RATES.flatMap(rate => this.#flows[rate])
    return flows.reduce((sum, { buckets }) => sum + buckets.size, this.#rules.size + this.holds.size)
  }

  /** Whether there is such a limit. */
  has(rate: Rate, ...scopes: Flow['scope'][]): boolean {
    return this.#flows[rate].some(({ scope }) => scopes.includes(scope))
  }

  /** A request or a command. Raises FW_TOO_MANY_REQUESTS. */
  request(party: Party): void {
    if (this.#flows.requests.length === 0) return
    const now = this.#now()
    this.#spend(this.#taps('requests', party, 1, now), now)
  }

  /** One event of so many bytes, under the rule of its channel. Raises FW_TOO_MANY_REQUESTS: then nothing is counted. */
  publish(party: Party, rule: Pick<Rule, 'match' | 'rate'>, bytes: number): void {
    const { publishes, bytes: data } = this.#flows
    if (publishes.length === 0 && data.length === 0 && rule.rate === undefined) return
    const now = this.#now()
    const taps = [
      ...this.#taps('publishes', party, 1, now),
      ...this.#taps('bytes', party, bytes, now),
      ...this.#ruleTaps(party, rule, now),
    ]
    this.#spend(taps, now)
  }

  #taps(rate: Rate, party: Party, cost: number, now: number): Tap[] {
    return this.#flows[rate].flatMap(({ scope, allowance, buckets }): Tap[] => {
      if (scope === 'connection') {
        if (party.connection === undefined) return []
        const bucket = (party.connection[rate] ??= new Bucket())
        return [{ scope, rate, allowance, bucket, cost }]
      }
      const name = nameOf(scope, party)
      return name === undefined
        ? []
        : [{ scope, rate, allowance, bucket: buckets.of(name, allowance, now), cost }]
    })
  }

  /** API keys are not asked what a rule says. */
  #ruleTaps(party: Party, { match, rate }: Pick<Rule, 'match' | 'rate'>, now: number): Tap[] {
    if (rate === undefined || party.identity?.kind === 'key') return []
    const user = nameOf('user', party)
    const name = user === undefined ? `${match} address ${party.address ?? ''}` : `${match} user ${user}`
    const allowance = { burst: rate.burst, perSecond: rate.publish }
    const bucket = this.#rules.of(name, allowance, now)
    return [{ scope: 'rule', rate: 'publishes', allowance, bucket, cost: 1 }]
  }

  /** From all or from none. */
  #spend(taps: readonly Tap[], now: number): void {
    let longest = 0
    let by: Tap | undefined
    for (const tap of taps) {
      const wait = tap.bucket.wait(tap.allowance, tap.cost, now)
      if (wait <= longest) continue
      longest = wait
      by = tap
    }
    if (by !== undefined) throw this.hits.hit(by.rate, by.scope, longest)
    for (const { bucket, allowance, cost } of taps) bucket.spend(allowance, cost, now)
  }
}

function capital<T extends string>(text: T): Capitalize<T> {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}` as Capitalize<T>
}
