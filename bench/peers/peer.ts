// The bench's interface to a measured server.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Wire } from '../load/client.ts'
import type { MessageOrder, PostOrder } from '../load/post.ts'
import type { SinkOrder } from '../load/sinks.ts'
import { residentOf } from '../processes/proc.ts'
import type { Server } from '../processes/server.ts'

export type WireName = 'ws' | 'sse'

export interface PeerOptions {
  readonly redisUrl: string
  /** An empty folder for the run. */
  readonly dir: string
  /** Routes messages through Redis, as with several nodes. Matters to Nchan, whose own memory is faster. */
  readonly throughRedis: boolean
  /** Heartbeats with the peer's defaults; otherwise none, so that they do not affect the measurement. */
  readonly heartbeats: boolean
  /** Whether it accepts tokens. */
  readonly tokens?: boolean
  /** Folder for CPU profiles, if requested; only the broker writes any. */
  readonly profile?: string
  /** Further settings, for fanwire. */
  readonly env?: Readonly<Record<string, string>>
}

/** How to follow a channel on a running peer. */
export interface Reading {
  readonly wire: Wire
  readonly path: string
  /** Appended to the path before a cursor, if the peer has cursors. */
  readonly resume?: string
}

export interface RunningPeer {
  readonly server: Server
  readonly port: number
  readonly sink: SinkOrder
  reading(wire: WireName, channel: string): Reading
  /** Tokens of this many users, who may read every channel. Absent if it was started without tokens. */
  tokensOf?(users: number): string[]
  /** Ways to publish one event, by their names in the table. */
  readonly publishing?: Readonly<Record<string, PostOrder | MessageOrder>>
  /** Makes it release unused memory. Returns whether that is possible. */
  collect(): boolean
}

export interface Peer {
  readonly name: string
  /** Its name in the table. */
  readonly title: string
  readonly wires: readonly WireName[]
  /** Names of its ways to publish one event. */
  readonly publishes?: readonly string[]
  /** Whether readers have a start position, so that every event can be accounted for. */
  readonly cursors: boolean
  /** Makes it runnable; returns the reason if it cannot run here. */
  prepare(): Promise<string | undefined>
  start(options: PeerOptions): Promise<RunningPeer>
}

/** Resident memory of the server once it stops falling, bytes. */
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
