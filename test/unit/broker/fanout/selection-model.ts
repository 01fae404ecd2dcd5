// A model of the messages that a reader of a selection receives, simple enough to be verified by reading it. Positions
// are offsets.

export interface Sent {
  readonly offset: number
  readonly type: string
  readonly lang: string
}

/** The selection of a reader: the language of its events, and whether it wants only the newest of each type. */
export interface Wish {
  readonly lang?: string
  readonly newest?: true
}

/** A heartbeat waits in a full socket like any message. */
const HEARTBEAT = ''

export class ModelReader {
  /** What the client has received, without heartbeats. */
  readonly lines: string[] = []
  readonly #wish: Wish
  #at: number
  /** The cursor that the client has once it has received everything. */
  #reported: number
  /** Messages that wait in the socket while the client does not read. */
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

  /** `events`: all events of the channel after `floor`. */
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
