// What is proved: servers, and a client of theirs. Each is a file beside this one.

import type { Random } from '../support/random.ts'

export interface Hear {
  /** The event number `n` of a channel came. */
  event(channel: string, n: number): void
  /** Events of the channel may be lost before the next one. */
  gap(channel: string): void
}

export interface Reader {
  /** Starts anew, like a reloaded page; returns a description. Omitted: the client has no such case. */
  again?(): string
  close(): void
}

export interface FollowOptions {
  readonly random: Random
  /** It shares its connection with the other readers of the same URL. */
  readonly shared: boolean
}

export interface System {
  readonly name: string
  /** Readers see all from the first event on, however late they are. */
  readonly fromStart: boolean
  readonly channels: readonly string[]
  /** A port that takes connections, as a load balancer chooses one. */
  port(): number
  /** Resolves when the event counts as published. `port`: of a proxy before the system. */
  publish(url: string, channel: string, n: number): Promise<void>
  follow(url: string, hear: Hear, options: FollowOptions): Reader
  /** Disturbs a server; returns a description. Resolves when it is over. */
  disturb(random: Random): Promise<string>
  stop(): Promise<void>
}

/** Tries to start a server. */
const TRIES = 5

/** On a busy machine a start may take too long, which says nothing about a client: it is tried again. */
export async function persistently<T>(start: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await start()
    } catch (error) {
      if (tries === TRIES) throw error
    }
  }
}
