// The number of connections and subscriptions that addresses, users and keys hold at a time.

import { jitter } from '../../backoff.ts'
import { type Count, type Hits, type Holder, type LimitSettings, nameOf, type Party } from './limited.ts'

/** The hint about when to retry, ms, plus or minus half, since it is unknown when others leave. */
const COME_BACK_MS = 3000
const HOLDERS: readonly Holder[] = ['address', 'user', 'key']

export type Held = { [K in Count]: number }

const NOTHING: Readonly<Held> = { connections: 0, subscriptions: 0 }

/** The limits of names, and their use on this node. A name is stored only as long as it holds something. */
interface Table {
  readonly scope: Holder
  readonly most: Readonly<Held>
  readonly held: Map<string, Held>
}

/** The holds of one connection, until it ends. */
export interface Lease {
  /** Adds a subscription. Raises FW_TOO_MANY_REQUESTS. */
  add(): void
  /** Removes a subscription. */
  remove(): void
  /**
   * Moves the connection to another party, unless it has ended. Raises FW_TOO_MANY_REQUESTS; then nothing has changed.
   */
  renew(party: Party): void
  end(): void
}

export class Holds {
  readonly #hits: Hits
  readonly #tables: readonly Table[]
  /** The holds of a name on other nodes. */
  others: (scope: Holder, name: string) => Readonly<Held> = () => NOTHING

  constructor(settings: LimitSettings, hits: Hits) {
    this.#hits = hits
    this.#tables = HOLDERS.map(scope => ({
      scope,
      most: {
        connections: settings[`${scope}Connections`],
        subscriptions: settings[`${scope}Subscriptions`],
      },
      held: new Map<string, Held>(),
    })).filter(({ most }) => most.connections > 0 || most.subscriptions > 0)
  }

  /** The number of names that hold something. */
  get size(): number {
    return this.#tables.reduce((sum, { held }) => sum + held.size, 0)
  }

  /** The holds of users or keys on this node. */
  of(scope: Holder): ReadonlyMap<string, Readonly<Held>> {
    return this.#tables.find(table => table.scope === scope)?.held ?? new Map()
  }

  /** The limits of a scope's names; undefined if there are none. */
  mostOf(scope: Holder): Readonly<Held> | undefined {
    return this.#tables.find(table => table.scope === scope)?.most
  }

  /** Raises FW_TOO_MANY_REQUESTS unless one more connection with that many subscriptions is allowed. */
  check(party: Party, subscriptions = 0): void {
    this.#check(this.#placesOf(party), { connections: 1, subscriptions })
  }

  /** Adds a connection. Returns undefined if there are no limits. Raises FW_TOO_MANY_REQUESTS. */
  take(party: Party, subscriptions = 0): Lease | undefined {
    if (this.#tables.length === 0) return undefined
    let places: readonly Place[] = this.#placesOf(party)
    let ended = false
    const held: Held = { connections: 1, subscriptions }
    this.#check(places, held)
    change(places, held, 1)
    const move = (next: readonly Place[]) => {
      change(places, held, -1)
      places = next
      change(places, held, 1)
    }
    return {
      add: () => {
        const one = { connections: 0, subscriptions: 1 }
        this.#check(places, one)
        change(places, one, 1)
        held.subscriptions++
      },
      remove: () => {
        if (held.subscriptions === 0) return
        change(places, { connections: 0, subscriptions: 1 }, -1)
        held.subscriptions--
      },
      renew: next => {
        if (ended) return
        const wanted = this.#placesOf(next)
        const isNew = ({ table, name }: Place) =>
          !places.some(place => place.table === table && place.name === name)
        this.#check(wanted.filter(isNew), held)
        move(wanted)
      },
      end: () => {
        ended = true
        move([])
      },
    }
  }

  #placesOf(party: Party): Place[] {
    return this.#tables.flatMap(table => {
      const name = nameOf(table.scope, party)
      return name === undefined ? [] : [{ table, name }]
    })
  }

  #check(places: readonly Place[], more: Readonly<Held>): void {
    for (const { table, name } of places) {
      const here = table.held.get(name) ?? NOTHING
      const elsewhere = this.others(table.scope, name)
      for (const count of ['connections', 'subscriptions'] as const) {
        const most = table.most[count]
        if (most === 0 || more[count] === 0) continue
        if (here[count] + elsewhere[count] + more[count] > most)
          throw this.#hits.hit(count, table.scope, jitter(COME_BACK_MS))
      }
    }
  }
}

interface Place {
  readonly table: Table
  readonly name: string
}

function change(places: readonly Place[], { connections, subscriptions }: Held, sign: 1 | -1): void {
  for (const { table, name } of places) {
    const held = table.held.get(name) ?? { ...NOTHING }
    held.connections += sign * connections
    held.subscriptions += sign * subscriptions
    if (held.connections === 0 && held.subscriptions === 0) table.held.delete(name)
    else table.held.set(name, held)
  }
}
