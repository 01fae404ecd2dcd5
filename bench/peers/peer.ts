// What the bench asks of a server that it measures.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Wire } from '../load/client.ts'
import type { MessageOrder, PostOrder } from '../load/post.ts'
import type { SinkOrder } from '../load/sinks.ts'
import { residentOf } from '../processes/proc.ts'
import type { Server } from '../processes/server.ts'

export type WireName = 'ws' | 'sse'

export interface PeerOptions {
  readonly redisUrl: string
  /** An empty folder of the run's own. */
  readonly dir: string
  /** With several nodes in mind: what goes through Redis has to. Matters to Nchan, whose own memory is quicker. */
  readonly throughRedis: boolean
  /** Heartbeats as the peer has them by default; else none, so that they don't mix with what is measured. */
  readonly heartbeats: boolean
  /** It accepts tokens. */
  readonly tokens?: boolean
  /** Where CPU profiles go, if they are wanted; only the broker makes any. */
  readonly profile?: string
  /** Further settings, for fanwire. */
  readonly env?: Readonly<Record<string, string>>
}

/** How to follow a channel on a running peer. */
export interface Reading {
  readonly wire: Wire
  readonly path: string
  /** Appended to the path with a cursor, where the peer has cursors. */
  readonly resume?: string
}

export interface RunningPeer {
  readonly server: Server
  readonly port: number
  readonly sink: SinkOrder
  reading(wire: WireName, channel: string): Reading
  /** Ways to publish one event, by what the table calls them. */
  readonly publishing?: Readonly<Record<string, PostOrder | MessageOrder>>
  /** Makes it give back what it does not use, where that can be asked for; true if so. */
  collect(): boolean
}

export interface Peer {
  readonly name: string
  /** As the table shows it. */
  readonly title: string
  readonly wires: readonly WireName[]
  /** Names of its ways to publish one event. */
  readonly publishes?: readonly string[]
  /** Whether readers say where they begin, so that every event can be accounted for. */
  readonly cursors: boolean
  /** Makes it runnable; returns why it can't be here, if so. */
  prepare(): Promise<string | undefined>
  start(options: PeerOptions): Promise<RunningPeer>
}

/** Resident memory of the server once it does not fall any more, bytes. */
export async function settled({ server, collect }: RunningPeer): Promise<number> {
  let least = Number.POSITIVE_INFINITY
  for (let still = 0, turn = 0; still < 3 && turn < 20; turn++) {
    collect()
    await sleep(1000)
    const resident = residentOf(server.pids)
    still = resident < least - 2 ** 19 ? 0 : still + 1
    least = Math.min(least, resident)
  }
  return least
}
