// The streams that this node knows, each as far as it was read; and when they are over.

import { STREAMS } from '../../broker/control/channels.ts'
import type { Start } from '../../broker/event/position.ts'
import type { ChannelLog, Page } from '../../broker/log/log.ts'
import { FanwireError } from '../../errors.ts'
import { fold, type StreamState } from './state.ts'
import { dropOldest } from '../../broker/event/newest.ts'

export const PAGE = { events: 1000, bytes: 4 * 1024 * 1024 }
/** Streams whose state is kept. */
const MAX_KNOWN = 10_000
/** Reads of a stream with a TTL are noted so many times in it. */
const NOTES = 20

interface Entry {
  state: StreamState | undefined
  turn: Promise<unknown>
}

type Read = (after: Start) => Promise<Page>

export class Streams {
  readonly #log: ChannelLog
  readonly #known = new Map<string, Entry>()

  constructor(log: ChannelLog) {
    this.#log = log
  }

  /** The state of a stream, as new as the call. Raises FW_STREAM_NOT_FOUND, LogUnavailable. */
  async find(channel: string, read?: Read): Promise<StreamState> {
    const state = await this.look(channel, read)
    if (state.exists && !(await this.isOver(channel, state))) return state
    throw new FanwireError('FW_STREAM_NOT_FOUND', 'there is no such stream: PUT creates it')
  }

  /** The same, whether there is one or not. Raises LogUnavailable. */
  async look(channel: string, read?: Read): Promise<StreamState> {
    const entry = this.#entry(channel)
    const from = read ?? (after => this.#log.read(channel, after, PAGE))
    const found = entry.turn.then(async () => {
      entry.state = await fold(entry.state, from)
      return entry.state
    })
    entry.turn = found.catch(() => {})
    return found
  }

  /** What it was is gone. */
  forget(channel: string): void {
    this.#known.delete(channel)
  }

  #entry(channel: string): Entry {
    const entry = this.#known.get(channel) ?? { state: undefined, turn: Promise.resolve() }
    this.#known.delete(channel)
    this.#known.set(channel, entry)
    dropOldest(this.#known, MAX_KNOWN)
    return entry
  }

  // The end by time -----------------------------------------------------------------------------------------

  /** Whether its time has run out. Raises LogUnavailable. */
  async isOver(channel: string, state: StreamState): Promise<boolean> {
    const { ttl, expiresAt } = state.config
    const now = Date.now()
    if (expiresAt !== undefined && now >= Date.parse(expiresAt)) return true
    if (ttl === undefined || now < lastUse(state) + ttl * 1000) return false
    // Another node may know of a later read.
    const { events } = await this.#log.read(STREAMS + channel, 'earliest', PAGE)
    state.touched = Math.max(state.touched, events.at(-1)?.time ?? 0)
    return now >= lastUse(state) + ttl * 1000
  }

  /** It was read. Raises LogUnavailable. */
  async touch(channel: string, state: StreamState): Promise<void> {
    const { ttl } = state.config
    const now = Date.now()
    if (ttl === undefined || now - lastUse(state) < (ttl * 1000) / NOTES) return
    state.touched = now
    await this.#log.append(STREAMS + channel, [{ data: Buffer.from('1') }])
  }
}

function lastUse({ changed, touched }: StreamState): number {
  return Math.max(changed, touched)
}
