// The lines of one client: one, or several if a connection cannot hold all channels that the client reads.

import type { Feed, Feeding } from './feed.ts'
import { Line } from './line.ts'
import type { Env } from './link.ts'
import type { Happening, State, StateName } from './states.ts'
import type { Wire } from './types.ts'

/** The channels that nodes allow on a connection by default (FANWIRE_MAX_CHANNELS). */
const MOST_CHANNELS = 100
/** The same for sse. */
const MOST_SSE_CHANNELS = 32

/** The most important state among several lines. */
const ORDER: readonly StateName[] = [
  'closed',
  'unauthorized',
  'offline',
  'waiting',
  'connecting',
  'connected',
  'idle',
]

/** The parts that a client needs to read. */
export interface Lines extends Feeding {
  readonly state: State
  happen(what: Happening): void
  check(): void
}

export class OwnLines implements Lines {
  readonly #env: Env
  readonly #wires: readonly Wire[]
  /** The most channels of a line: fewer if it can fall back only to sse. */
  readonly #most: number
  readonly #changed: () => void
  readonly #first: Line
  readonly #lines: Line[]
  readonly #of = new Map<Feed, Line>()

  constructor(env: Env, wires: readonly Wire[], changed: () => void) {
    this.#env = env
    this.#wires = wires
    const fallBack = wires.filter(wire => wire !== 'ws')
    this.#most = `${fallBack}` === 'sse' ? MOST_SSE_CHANNELS : MOST_CHANNELS
    this.#changed = changed
    this.#first = this.#make()
    this.#lines = [this.#first]
  }

  #make(): Line {
    return new Line(this.#env, this.#wires, () => this.#changed())
  }

  get state(): State {
    const states = this.#lines.map(line => line.state)
    return ORDER.map(name => states.find(state => state.name === name)).find(Boolean) ?? this.#first.state
  }

  add(feed: Feed): void {
    let line = this.#lines.find(each => each.size < this.#most && !each.has(feed.channel))
    if (line === undefined) this.#lines.push((line = this.#make()))
    this.#of.set(feed, line)
    line.add(feed)
  }

  remove(feed: Feed): void {
    this.#of.get(feed)?.remove(feed)
    this.#of.delete(feed)
    // Empty lines become idle by themselves; they are removed, except the first one.
    for (const [i, line] of this.#lines.entries())
      if (i > 0 && line.state.name === 'idle') this.#lines.splice(i, 1)
  }

  happen(what: Happening): void {
    for (const line of this.#lines) line.happen(what)
  }

  check(): void {
    for (const line of this.#lines) line.check()
  }
}
