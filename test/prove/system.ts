// The interface of a tested system: servers and a client for them. Each system is a file in this folder.

import type { Random } from '../support/random.ts'

export interface Hear {
  /** Event number `n` of a channel arrived. */
  event(channel: string, n: number): void
  /** Events of the channel may be lost before the next one. */
  gap(channel: string): void
}

export interface Reader {
  /** Restarts the reader, like a reloaded page. Returns a description. Absent if the client cannot. */
  again?(): string
  close(): void
}

export interface FollowOptions {
  readonly random: Random
  /** Whether the reader shares its connection with other readers of the same URL. */
  readonly shared: boolean
}

export interface System {
  readonly name: string
  /** Whether readers receive all events from the first one on, however late they connect. */
  readonly fromStart: boolean
  readonly channels: readonly string[]
  /** A server's port, chosen as a load balancer would. */
  port(): number
  /** Resolves when the event counts as published. `url`: of a proxy in front of the system. */
  publish(url: string, channel: string, n: number): Promise<void>
  follow(url: string, hear: Hear, options: FollowOptions): Reader
  /** Disturbs a server. Resolves with a description when the disturbance is over. */
  disturb(random: Random): Promise<string>
  stop(): Promise<void>
}

/** Maximum number of attempts to start a server. */
const TRIES = 5

/** Retries a start, because on a busy machine it may time out, which says nothing about a client. */
export async function persistently<T>(start: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await start()
    } catch (error) {
      if (tries === TRIES) throw error
    }
  }
}
