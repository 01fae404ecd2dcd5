// Counters of the data that each wire delivers. The hot path adds to them, and the metrics read them.

export interface WireCounters {
  connections: number
  deliveries: number
  gaps: number
}

export class WireStats {
  readonly #counters: Record<string, WireCounters> = {}

  /** The counters of the wire with that name. */
  of(wire: string): WireCounters {
    this.#counters[wire] ??= { connections: 0, deliveries: 0, gaps: 0 }
    return this.#counters[wire]
  }

  get all(): Readonly<Record<string, WireCounters>> {
    return this.#counters
  }
}
