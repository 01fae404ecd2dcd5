// The load that every fault meets: publishers at 50 events a second, and 20 readers on each of the five wires, half of
// them behind nginx and half behind HAProxy.

import { Account } from './account.ts'
import { Publisher } from './publisher.ts'
import { Reader, WIRES } from './readers.ts'
import { until, type World } from './world.ts'

const RATE = 50
const READERS_PER_WIRE = 20
/** Of so many events one goes to the second channel. */
const SECOND = 5

/** Ms in which all readers have to be let in, all publishes answered, all events received. */
const OPEN_WITHIN = 30_000
const ANSWERED_WITHIN = 60_000
const ARRIVED_WITHIN = 30_000

export class Load {
  readonly account = new Account()
  /** All readers follow the first; half of them the second too. */
  readonly channels: readonly [string, string]
  readonly readers: Reader[] = []
  readonly #ports: readonly number[]
  #publisher: Publisher | undefined

  /** `name` is for its channels, which must be new. */
  constructor(name: string, { topology }: World) {
    this.channels = [`${name}.a`, `${name}.b`]
    this.#ports = topology.lbs.map(({ port }) => port)
  }

  /** Begins to read, and to publish once all readers have been let in. */
  async begin(): Promise<void> {
    await this.#opened(this.#read(READERS_PER_WIRE * WIRES.length, 'reader', 'earliest'))
    const [first, second] = this.channels
    this.#publisher = new Publisher({
      account: this.account,
      ports: this.#ports,
      rate: RATE,
      channel: n => (n % SECOND === 0 ? second : first),
    })
  }

  /** Further readers, who begin with what comes next. Returns when all have been let in. */
  async join(count: number): Promise<void> {
    await this.#opened(this.#read(count, 'newcomer', 'latest'))
  }

  /** Publishes that were not answered 201 at first. */
  get refused(): number {
    return (this.#publisher?.refused ?? 0) + (this.#publisher?.unanswered ?? 0)
  }

  /** Connections of readers that ended, or were refused. */
  get ends(): number {
    return this.readers.reduce((sum, { ends }) => sum + ends, 0)
  }

  /** Publishes nothing new, waits until all is answered and has arrived, and ends. What did not is in the account. */
  async end(): Promise<void> {
    await this.#publisher?.stop(ANSWERED_WITHIN)
    await until('all has arrived', ARRIVED_WITHIN, () => this.account.waiting().length === 0).catch(() => {})
    // Whatever comes once more, comes now.
    await new Promise(resolve => setTimeout(resolve, 500))
    await Promise.all(this.readers.map(reader => reader.stop()))
  }

  #read(count: number, kind: string, begin: 'earliest' | 'latest'): Reader[] {
    const [first, second] = this.channels
    const readers = Array.from({ length: count }, (_, i) => {
      const wire = WIRES[i % WIRES.length] ?? 'poll'
      const turn = Math.floor(i / WIRES.length)
      return new Reader({
        name: `${wire} ${kind} ${turn + 1}`,
        wire,
        port: this.#ports[turn % this.#ports.length] ?? 0,
        channels: turn % 4 < 2 ? [first] : [first, second],
        begin,
        account: this.account,
      })
    })
    this.readers.push(...readers)
    return readers
  }

  async #opened(readers: readonly Reader[]): Promise<void> {
    const late = AbortSignal.timeout(OPEN_WITHIN)
    const expired = new Promise<never>((_resolve, reject) => {
      late.addEventListener('abort', () => reject(new Error('not all readers were let in')), { once: true })
    })
    await Promise.race([Promise.all(readers.map(({ opened }) => opened)), expired])
  }
}
