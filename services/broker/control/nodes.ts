// The nodes of the cluster: each announces itself through the log and receives the others' announcements.

import { randomBytes } from 'node:crypto'
import type { ChannelLog } from '../log/log.ts'
import { NODES } from './channels.ts'
import type { Logger } from '../logger.ts'
import { draftOf, type Entry, Tail } from './tail.ts'

const ANNOUNCE_MS = 5000
/** A node counts as gone without an announcement for this long. */
const GONE_MS = 15_000
const START_MS = 5000

/** The constant part of a node's announcement. */
export interface NodeAbout {
  readonly role: string
  readonly version: string
  readonly host: string
  readonly pid: number
  /** Its URL, if it is known. */
  readonly url?: string
}

/** The variable part of a node's announcement. */
export interface NodeLoad {
  readonly connections: number
  readonly channels: number
}

export interface NodeInfo extends NodeAbout, NodeLoad {
  /** New at each start. */
  readonly id: string
  /** By the node's clock, ms since 1970. */
  readonly started: number
}

export interface NodesOptions {
  readonly log: ChannelLog
  readonly logger: Logger
  readonly about: NodeAbout
  load(): NodeLoad
  /** The interval of announcements, ms; at least 5000, except in tests. */
  readonly announceEvery?: number
  /** A clock that only goes forward, ms; for tests. */
  readonly now?: () => number
}

export class Nodes {
  readonly id = randomBytes(9).toString('base64url')
  readonly #options: NodesOptions
  readonly #now: () => number
  readonly #tail: Tail
  readonly #started = Date.now()
  /** The other nodes, with the time of their last announcement by the log's clock, since their clocks may differ. */
  readonly #others = new Map<string, { readonly info: NodeInfo; readonly time: number }>()
  /** The time of the newest announcement by the log's clock, and when it arrived, by `now`. */
  #newest = { time: 0, came: 0 }
  #timer: NodeJS.Timeout | undefined
  #announcing: Promise<unknown> | undefined

  constructor(options: NodesOptions) {
    this.#options = options
    this.#now = options.now ?? (() => performance.now())
    const { log, logger } = options
    this.#tail = new Tail({
      log,
      channel: NODES,
      from: 'earliest',
      logger,
      entry: entry => this.#heard(entry),
    })
  }

  /** Follows the others and announces this node. Waits at most that many ms. Does not raise. */
  async open(within = START_MS): Promise<void> {
    this.#timer = setInterval(() => this.#announce(), this.#options.announceEvery ?? ANNOUNCE_MS).unref()
    this.#announce()
    await this.#tail.open(within)
  }

  /** This node and those that announced themselves within the last 15 s, the oldest first. */
  list(): NodeInfo[] {
    this.#forget()
    const all = [this.#self(), ...[...this.#others.values()].map(({ info }) => info)]
    return all.sort((a, b) => a.started - b.started || (a.id < b.id ? -1 : 1))
  }

  /** Announces that this node leaves, so that the others notice at once. Does not raise. */
  async close(): Promise<void> {
    if (this.#timer === undefined) return
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#tail.close()
    await this.#say('goodbye', { id: this.id })
  }

  #announce(): void {
    this.#forget()
    // A slow log must answer before the next announcement is sent.
    this.#announcing ??= this.#say('here', this.#self()).finally(() => {
      this.#announcing = undefined
    })
  }

  async #say(type: string, data: object): Promise<void> {
    try {
      await this.#options.log.append(NODES, [draftOf(type, data)])
    } catch {
      // The log is unavailable, and reports that itself. For the others, this node is gone until the log recovers.
    }
  }

  #heard({ type, data, time }: Entry): void {
    this.#newest = { time, came: this.#now() }
    const info = data as NodeInfo
    if (info.id === this.id) return
    if (type === 'here') this.#others.set(info.id, { info, time })
    else if (type === 'goodbye') this.#others.delete(info.id)
  }

  #forget(): void {
    const { time, came } = this.#newest
    const oldest = time + (this.#now() - came) - GONE_MS
    for (const [id, other] of this.#others) if (other.time < oldest) this.#others.delete(id)
  }

  #self(): NodeInfo {
    return { id: this.id, started: this.#started, ...this.#options.about, ...this.#options.load() }
  }
}
