// A subscription: one reader of a channel, for the application. If the application does not consume events, the
// subscription leaves the wire, and continues from its position later, so that events do not pile up.

import { Emitter } from './emitter.ts'
import type { FanwireError } from './errors.ts'
import { type Item, positionAfter, type Reader } from './feed.ts'
import type { State } from './states.ts'
import type { End, Event, Gap } from './types.ts'

/** The maximum events that wait for a slow loop. Further ones stay in the log. */
const MOST_WAITING = 256

export type SubscriptionState =
  | State
  | { readonly name: 'refused'; readonly error: FanwireError }
  | { readonly name: 'ended' }

export interface SubscriptionEvents<Data> {
  event: Event<Data>
  gap: Gap
  state: SubscriptionState
  end: End
}

/** The parts of the client that a subscription needs. */
export interface Subscribing {
  join(reader: Reader): void
  leave(reader: Reader): void
  /** Stores the position. */
  keep(cursor: string): void
  /** Called when the subscription is closed. */
  gone(): void
  state(): State
}

export class Subscription<Data = unknown>
  extends Emitter<SubscriptionEvents<Data>>
  implements Reader, AsyncIterable<Event<Data>>
{
  readonly channel: string
  readonly #from: Subscribing
  /** The position where the wire continues: after all waiting events. */
  #read: string
  #done: string
  #waiting: Item[] = []
  #final: SubscriptionState | undefined
  #joined = false
  #loops = 0
  #closed = false
  /** Wakes the loop. */
  #wake = () => {}

  constructor(channel: string, cursor: string, from: Subscribing) {
    super()
    this.channel = channel
    this.#read = this.#done = cursor
    this.#from = from
  }

  /** The position after the last event that the application has processed; before that, the start. */
  get position(): string {
    return this.#done
  }

  /** The cursor of the reader on the wire. */
  get cursor(): string {
    return this.#read
  }

  get state(): SubscriptionState {
    return this.#final ?? this.#from.state()
  }

  /** A subscription begins with its first listener to events, or with its first loop. */
  override on<Name extends keyof SubscriptionEvents<Data>>(
    name: Name,
    listener: (value: SubscriptionEvents<Data>[Name]) => void,
  ): () => void {
    const off = super.on(name, listener)
    this.#flow()
    return () => {
      off()
      this.#flow()
    }
  }

  /** The events, in order. One loop at a time; the next one continues where it ended. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Event<Data>, void, undefined> {
    this.#loops++
    this.#flow()
    try {
      for (;;) {
        const item = this.#waiting.shift()
        if (item === undefined) {
          if (this.#final?.name === 'refused') throw this.#final.error
          if (this.#final !== undefined || this.#closed) return
          this.#flow()
          await new Promise<void>(resolve => (this.#wake = resolve))
        } else if ('event' in item) {
          this.emit('event', item.event as Event<Data>)
          try {
            yield item.event as Event<Data>
          } finally {
            this.#finish(item)
          }
        } else this.#handle(item)
      }
    } finally {
      this.#loops--
      this.#flow()
    }
  }

  close(): void {
    this.#closed = true
    this.#waiting = []
    this.#leave()
    this.#from.gone()
    this.#wake()
  }

  /** Takes an item from the wire. */
  take(item: Item): void {
    this.#read = positionAfter(item) ?? this.#read
    this.#waiting.push(item)
    if (this.#loops > 0) {
      this.#wake()
      if (this.#waiting.length >= MOST_WAITING) this.#leave()
    } else this.#drain()
    if ('end' in item || 'refused' in item) this.#leave()
  }

  /** Called when the connection's state has changed. */
  stateChanged(): void {
    if (this.#final === undefined && !this.#closed) this.emit('state', this.state)
  }

  /** Reads while the application consumes events, and not too many are waiting. */
  #flow(): void {
    const wanted = this.#loops > 0 || this.count('event') > 0
    if (this.#loops === 0 && wanted) this.#drain()
    if (!wanted || this.#closed || this.#final !== undefined) return this.#leave()
    if (this.#joined || this.#waiting.length > 0) return
    this.#joined = true
    this.#from.join(this)
  }

  #leave(): void {
    if (!this.#joined) return
    this.#joined = false
    this.#from.leave(this)
  }

  #drain(): void {
    for (let item = this.#waiting.shift(); item !== undefined; item = this.#waiting.shift()) {
      if ('event' in item) this.emit('event', item.event as Event<Data>)
      this.#handle(item)
    }
  }

  /** Handles items other than events, and processed events. */
  #handle(item: Item): void {
    if ('gap' in item) this.emit('gap', item.gap)
    if ('end' in item) {
      this.#final = { name: 'ended' }
      this.emit('end', item.end)
    }
    if ('refused' in item) this.#final = { name: 'refused', error: item.refused }
    this.#finish(item)
    if (this.#final !== undefined) this.emit('state', this.#final)
  }

  #finish(item: Item): void {
    const position = positionAfter(item)
    if (position === undefined) return
    this.#done = position
    this.#from.keep(position)
  }
}
