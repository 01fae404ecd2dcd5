// Low-priority events wait until enough have gathered: ARCHITECTURE.md#fan-out.

import type { LogEvent } from '../event/event.ts'

/** Low-priority events wake readers as soon as one of these is reached. */
export interface LowPriorityLimits {
  readonly events: number
  readonly bytes: number
  /** The age of the oldest event, ms; 0: events do not wait. */
  readonly age: number
}

/** The low-priority events of one channel that have woken no reader yet. */
export class LowPriority {
  readonly #limits: LowPriorityLimits
  readonly #wake: () => void
  #events = 0
  #bytes = 0
  #timer: NodeJS.Timeout | undefined

  /** `wake` is called when the oldest event has waited long enough. */
  constructor(limits: LowPriorityLimits, wake: () => void) {
    this.#limits = limits
    this.#wake = wake
  }

  /** Whether these events, all of low priority, do not wake readers yet. */
  holdBack(events: readonly LogEvent[]): boolean {
    this.#events += events.length
    for (const event of events) this.#bytes += event.bytes
    const { events: maxEvents, bytes: maxBytes, age } = this.#limits
    if (this.#events >= maxEvents || this.#bytes >= maxBytes || age === 0) return false
    this.#timer ??= setTimeout(this.#wake, age)
    return true
  }

  /** Called when readers are woken: no events wait any longer. */
  reset(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#events = 0
    this.#bytes = 0
  }
}

/** How long a request that found these events waits for more, ms: 0 unless all are low-priority, few and young. */
export function holdBackMs(events: readonly LogEvent[], now: number, limits: LowPriorityLimits): number {
  const oldest = events[0]
  if (oldest === undefined || events.length >= limits.events || events.some(event => !event.low)) return 0
  const bytes = events.reduce((sum, event) => sum + event.bytes, 0)
  return bytes >= limits.bytes ? 0 : Math.min(limits.age, Math.max(0, oldest.time + limits.age - now))
}
