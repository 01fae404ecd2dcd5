// Shows the progress of a load test: on a terminal in one line that is rewritten, otherwise in a line from time to
// time.

/** Calls of `show`, one per second, for each line that is not on a terminal. */
const EVERY = 5

export interface Figures {
  readonly phase: string
  readonly open: number
  readonly clients: number
  readonly eventsPerSecond: number
  readonly deliveriesPerSecond: number
  readonly p50: number | undefined
  readonly p99: number | undefined
  readonly missing: number
  readonly errors: number
}

export class Live {
  readonly #out: NodeJS.WriteStream
  #ticks = 0

  constructor(out: NodeJS.WriteStream) {
    this.#out = out
  }

  /** Shows figures. Called once per second. */
  show(figures: Figures): void {
    const text = lineOf(figures)
    if (this.#out.isTTY) this.#out.write(`\r\x1b[K${text.slice(0, Math.max(20, this.#out.columns - 1))}`)
    else if (this.#ticks++ % EVERY === 0) this.#out.write(`${text}\n`)
  }

  /** Prints a permanent line. */
  say(text: string): void {
    this.#out.write(`${this.#out.isTTY ? '\r\x1b[K' : ''}${text}\n`)
  }

  clear(): void {
    if (this.#out.isTTY) this.#out.write('\r\x1b[K')
  }
}

function lineOf(figures: Figures): string {
  const { phase, open, clients, eventsPerSecond, deliveriesPerSecond, p50, p99, missing, errors } = figures
  const count = (value: number) => Math.round(value).toLocaleString('en')
  const parts = [phase, `${count(open)} of ${count(clients)} connected`]
  if (eventsPerSecond > 0) parts.push(`${count(eventsPerSecond)} events/s`)
  if (deliveriesPerSecond > 0) parts.push(`${count(deliveriesPerSecond)} deliveries/s`)
  if (p50 !== undefined && p99 !== undefined) parts.push(`p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`)
  parts.push(`missing ${count(missing)}`, `errors ${count(errors)}`)
  return parts.join('  ')
}
