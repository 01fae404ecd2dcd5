// The messages of a reader of a selection, in a model short enough to be verified by reading. Positions are offsets.

export interface Sent {
  readonly offset: number
  readonly type: string
  readonly lang: string
}

/** A reader: of which events, and whether it wants only the newest of each type. */
export interface Wish {
  readonly lang?: string
  readonly newest?: true
}

/** It waits in the socket as everything else does. */
const HEARTBEAT = ''

export class ModelReader {
  /** What the client has received, without heartbeats. */
  readonly lines: string[] = []
  readonly #wish: Wish
  #at: number
  /** What the client knows of that, once it has received all. */
  #reported: number
  /** What its socket has not taken yet, while it does not read. */
  #held: string[] | undefined

  constructor(wish: Wish, at: number) {
    this.#wish = wish
    this.#at = this.#reported = at
  }

  stop(): void {
    this.#held ??= []
  }

  read(): void {
    this.lines.push(...(this.#held ?? []).filter(line => line !== HEARTBEAT))
    this.#held = undefined
  }

  /** The channel holds the events after `floor`, up to the newest one. */
  news(events: readonly Sent[], floor: number): void {
    if (this.#held !== undefined && this.#held.length > 0) return
    if (this.#at < floor) {
      this.#report(floor, `gap ${this.#at} ${floor}`)
      this.#at = floor
    }
    const { lang, newest } = this.#wish
    const wanted = events.filter(each => each.offset > this.#at && (lang === undefined || each.lang === lang))
    for (const { offset, type } of wanted) {
      const same = wanted.filter(each => newest && each.type === type)
      const skipped = same.length - 1
      if (same.some(each => each.offset > offset)) continue
      this.#report(offset, skipped > 0 ? `${offset} skipped ${skipped}` : `${offset}`)
    }
    this.#at = Math.max(this.#at, events.at(-1)?.offset ?? 0)
  }

  beat(): void {
    if (this.#held !== undefined && this.#held.length > 0) return
    if (this.#reported < this.#at) this.#report(this.#at, `passed ${this.#at}`)
    this.#held?.push(HEARTBEAT)
  }

  #report(at: number, line: string): void {
    ;(this.#held ?? this.lines).push(line)
    this.#reported = at
  }
}
