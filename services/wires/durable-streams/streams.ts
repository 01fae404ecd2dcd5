// The state of the streams that this node has read, and when they expire.

import { STREAMS } from '../../broker/control/channels.ts'
import { ownCopy } from '../../broker/event/names.ts'
import type { Start } from '../../broker/event/position.ts'
import type { ChannelLog, Page } from '../../broker/log/log.ts'
import { FanwireError } from '../../errors.ts'
import { fold, PAGE, type StreamState } from '../../broker/streams/state.ts'
import { dropOldest } from '../../broker/event/newest.ts'

/** The maximum number of streams whose state is cached. */
const MAX_KNOWN = 10_000
/** How often reads of a stream are recorded within its TTL, at most. */
const TOUCHES_PER_TTL = 20

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

  /** The current state of a stream. Raises FW_STREAM_NOT_FOUND, LogUnavailable. */
  async find(channel: string, read?: Read): Promise<StreamState> {
    const state = await this.look(channel, read)
    if (state.exists && !(await this.hasExpired(channel, state))) return state
    throw new FanwireError('FW_STREAM_NOT_FOUND', 'the stream does not exist: create it with PUT')
  }

  /** The same, even if the stream does not exist. Raises LogUnavailable. */
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

  /** Called when the stream was deleted. */
  forget(channel: string): void {
    this.#known.delete(channel)
  }

  #entry(channel: string): Entry {
    const entry = this.#known.get(channel) ?? { state: undefined, turn: Promise.resolve() }
    this.#known.delete(channel)
    this.#known.set(ownCopy(channel), entry)
    dropOldest(this.#known, MAX_KNOWN)
    return entry
  }

  // Expiry --------------------------------------------------------------------------------------------------

  /** Raises LogUnavailable. */
  async hasExpired(channel: string, state: StreamState): Promise<boolean> {
    const { ttl, expiresAt } = state.config
    const now = Date.now()
    if (expiresAt !== undefined && now >= Date.parse(expiresAt)) return true
    if (ttl === undefined || now < lastUse(state) + ttl * 1000) return false
    // Another node may have recorded a later read.
    const { events } = await this.#log.read(STREAMS + channel, 'earliest', PAGE)
    state.touched = Math.max(state.touched, events.at(-1)?.time ?? 0)
    return now >= lastUse(state) + ttl * 1000
  }

  /** Records that the stream was read. Raises LogUnavailable. */
  async touch(channel: string, state: StreamState): Promise<void> {
    const { ttl } = state.config
    const now = Date.now()
    if (ttl === undefined || now - lastUse(state) < (ttl * 1000) / TOUCHES_PER_TTL) return
    state.touched = now
    await this.#log.append(STREAMS + channel, [{ data: Buffer.from('1') }])
  }
}

function lastUse({ changed, touched }: StreamState): number {
  return Math.max(changed, touched)
}
