// The readable events of a channel, and a reader's messages, in a model short enough to be verified by reading.

export interface Wish {
  readonly type?: string
  readonly lang?: string
  readonly newest?: true
  /** Delivered in stretches at intervals, which changes when events arrive, but not which events. */
  readonly every?: true
}

export interface Sent {
  readonly offset: number
  readonly type: string
  lang: string | undefined
  /** Null once the event is erased. */
  data: number | null
}

export interface Delivered {
  readonly offset: number
  readonly data: number | null
  readonly skipped: number
}

export class Model {
  epoch: string
  head = 0
  floor = 0
  ended = false
  events: Sent[] = []
  readonly #keeps: number

  constructor(epoch: string, keeps: number) {
    this.epoch = epoch
    this.#keeps = keeps
  }

  get position(): string {
    return `${this.epoch}-${this.head}`
  }

  publish(type: string, lang: string, data: number): void {
    this.events.push({ offset: ++this.head, type, lang, data })
    this.#trim()
  }

  /** An end is a record like an event, but it is not delivered as one. */
  end(): void {
    this.head++
    this.ended = true
    this.#trim()
  }

  erase(sent: Sent): void {
    sent.data = null
    sent.lang = undefined
  }

  clear(epoch: string): void {
    this.epoch = epoch
    this.floor = this.head
    this.events = []
    this.ended = false
  }

  /** The end of the gap after a cursor; undefined without a gap. */
  gap(cursor: string): string | undefined {
    const [epoch, offset] = cursor.split('-')
    return epoch === this.epoch && Number(offset) >= this.floor ? undefined : `${this.epoch}-${this.floor}`
  }

  /** The events after `from`, up to `to`, as one response or stretch delivers them. */
  between(from: number, to: number, { type, lang, newest }: Wish): Delivered[] {
    const wanted = this.events.filter(
      each =>
        each.offset > from &&
        each.offset <= to &&
        (type === undefined || each.type === type) &&
        (lang === undefined || each.lang === lang),
    )
    const older = (sent: Sent) => wanted.filter(each => each.type === sent.type && each.offset < sent.offset)
    const isNewest = (sent: Sent) =>
      !wanted.some(each => each.type === sent.type && each.offset > sent.offset)
    return wanted
      .filter(each => !newest || isNewest(each))
      .map(each => ({ offset: each.offset, data: each.data, skipped: newest ? older(each).length : 0 }))
  }

  #trim(): void {
    this.floor = Math.max(this.floor, this.head - this.#keeps)
    this.events = this.events.filter(({ offset }) => offset > this.floor)
  }
}
