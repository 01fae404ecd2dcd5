// All connections of a node: their heartbeats, stalled and unresponsive clients, connections that have reached their
// maximum age, and the graceful shutdown of all of them.

import { jitter } from '../../backoff.ts'
import { AwakeClock } from '../patience.ts'
import { repeat, visitInSlices } from '../slices.ts'
import type { Connection, ConnectionRegistry, SendNow } from './connection.ts'
import type { FlushLoop } from './flush-loop.ts'
import type { CloseReason } from './framing.ts'
import { WireStats } from './wire-stats.ts'

/** Times in ms. */
export interface ConnectionTimes {
  readonly heartbeat: number
  /** How long a client may accept no data. */
  readonly stall: number
  /** How long a connection may last. Default, or 0: for ever. */
  readonly maxAge?: number
  /** How long a client may take to answer a heartbeat. Default: 10 s. */
  readonly heartbeatAnswer?: number
  /** The treatment of a channel's slow readers. Default: they catch up with all events. */
  readonly slowOf?: (channel: string) => Slow | undefined
  /** See SendNow. Default: everything goes through streams. */
  readonly sendNow?: SendNow | undefined
}

/** A request that waits for news, such as a long poll. */
export interface HeldRequest {
  /** Answers now with the events that there are. */
  release(): void
}

/** The maximum number of turns of the wheel between two heartbeats of a connection. */
const MOST_SPOKES = 32
const MIN_TURN_MS = 10
const HEARTBEAT_ANSWER_MS = 10_000
/** How long a connection that has ended may take to close before it is cut. */
const CUT_AFTER_MS = 2000
/** The time between two batches of ending connections. */
const DRAIN_STEP_MS = 50

/** When a connection that begins now reaches `maxAge` ms, minus up to a quarter, in ms since 1970. */
export function lastsUntil(maxAge: number): number {
  return Math.floor(Date.now() + maxAge * (1 - Math.random() / 4))
}

/** Tells the client to reconnect to another node. It loses nothing. */
function goElsewhere(reason: string): CloseReason {
  return { code: 1001, reason, retry: jitter(1000) }
}

/** The treatment of slow readers, by the channel's rule. */
export type Slow = 'catch-up' | 'newest' | 'close'

export class Connections implements ConnectionRegistry {
  readonly flushLoop: FlushLoop
  readonly sendNow: SendNow | undefined
  readonly wires = new WireStats()
  readonly clock: AwakeClock
  /** Requests that wait for news. They end together with the connections. */
  readonly held = new Set<HeldRequest>()
  /** Connections whose socket is full. */
  readonly full = new Set<Connection>()
  /** Connections that have ended, but whose clients have not closed yet. */
  readonly leaving = new Set<Connection>()
  readonly #times: ConnectionTimes
  readonly #wheel: readonly Set<Connection>[]
  #spoke = 0
  #timers: NodeJS.Timeout[] = []
  #allGone: (() => void) | undefined

  constructor(flushLoop: FlushLoop, times: ConnectionTimes) {
    this.flushLoop = flushLoop
    this.sendNow = times.sendNow
    this.#times = times
    this.clock = new AwakeClock(2 * this.#sweepMs)
    const spokes = Math.max(1, Math.min(MOST_SPOKES, Math.floor(times.heartbeat / MIN_TURN_MS)))
    this.#wheel = Array.from({ length: spokes }, () => new Set())
  }

  start(): void {
    this.#timers = [repeat(() => this.#turnWheel(), this.#turnMs), repeat(() => this.#sweep(), this.#sweepMs)]
  }

  close(): void {
    for (const timer of this.#timers) clearInterval(timer)
    this.#timers = []
  }

  slowOf(channel: string): Slow | undefined {
    return this.#times.slowOf?.(channel)
  }

  // What connections report -----------------------------------------------------------------------------------

  opened(connection: Connection): void {
    const spokes = this.#wheel.length
    connection.spoke = (this.#spoke + spokes - 1) % spokes
    this.#wheel[connection.spoke]?.add(connection)
    const { maxAge = 0 } = this.#times
    if (maxAge > 0) connection.endsAt = lastsUntil(maxAge)
  }

  blocked(connection: Connection): void {
    this.full.add(connection)
  }

  unblocked(connection: Connection): void {
    this.full.delete(connection)
  }

  ending(connection: Connection): void {
    this.leaving.add(connection)
  }

  closed(connection: Connection): void {
    this.#wheel[connection.spoke]?.delete(connection)
    this.full.delete(connection)
    this.leaving.delete(connection)
    if (this.leaving.size === 0) this.#allGone?.()
    this.flushLoop.cancelCatchUp(connection)
  }

  // Time --------------------------------------------------------------------------------------------------------

  get #turnMs(): number {
    return Math.max(MIN_TURN_MS, this.#times.heartbeat / this.#wheel.length)
  }

  /**
   * One timer checks the heartbeats, their answers and the ages of all connections, in slices. While the node is too
   * busy for that, the wheel stands still.
   */
  async #turnWheel(): Promise<void> {
    const { heartbeat, heartbeatAnswer = HEARTBEAT_ANSWER_MS } = this.#times
    const spokes = this.#wheel.length
    this.#spoke = (this.#spoke + 1) % spokes
    await visitInSlices(this.#wheel[this.#spoke] ?? [], connection => {
      const { endsAt } = connection
      // At its next turn it would be too old.
      const isOld = endsAt !== 0 && Date.now() + heartbeat >= endsAt
      if (isOld) connection.end(goElsewhere('the connection has reached its maximum age'))
      else connection.beat()
    })
    // One turn more: a slice of that turn may have been late.
    const turnsAgo = Math.min(spokes - 1, Math.ceil(heartbeatAnswer / this.#turnMs) + 1)
    await visitInSlices(this.#wheel[(this.#spoke + spokes - turnsAgo) % spokes] ?? [], connection => {
      connection.cutIfSilent(this.clock.now, heartbeatAnswer)
    })
  }

  get #sweepMs(): number {
    return Math.min(1000, this.#times.stall / 4)
  }

  /** In slices: after an outage these may be all connections. */
  async #sweep(): Promise<void> {
    const { stall } = this.#times
    this.clock.tick()
    await visitInSlices(this.full, connection => connection.endIfStalled(this.clock.now, stall))
    await visitInSlices(this.leaving, connection => connection.cutIfOverdue(this.clock.now, CUT_AFTER_MS))
  }

  // The end -----------------------------------------------------------------------------------------------------

  /**
   * Answers held requests and ends every connection, evenly over `ms`, each with a hint about when to reconnect.
   * Returns when the last messages of all are queued.
   */
  async drain(ms: number): Promise<void> {
    const end = (connection: Connection) => connection.end(goElsewhere('the node is stopping'))
    // Clients of held requests reconnect at once, so these too are spread over the time.
    const ends = [
      ...[...this.held].map(held => () => held.release()),
      ...this.#all().map(connection => () => end(connection)),
    ]
    const steps = Math.max(1, ms / DRAIN_STEP_MS)
    const total = ends.length
    for (let step = 1; ends.length > 0; step++) {
      for (const each of ends.splice(0, Math.ceil((total * step) / steps) - (total - ends.length))) each()
      if (ends.length > 0) await new Promise(resolve => setTimeout(resolve, DRAIN_STEP_MS))
    }
    // Connections may have arrived meanwhile.
    for (const connection of this.#all()) end(connection)
    for (const held of this.held) held.release()
  }

  #all(): Connection[] {
    return [...this]
  }

  *[Symbol.iterator](): Generator<Connection> {
    for (const spoke of this.#wheel) yield* spoke
  }

  /** Returns when the clients of all connections that have ended are gone, or after `ms`. */
  async gone(ms: number): Promise<void> {
    if (this.leaving.size === 0) return
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, ms)
      this.#allGone = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}
