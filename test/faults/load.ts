// The load of every case: a publisher of 50 events a second, and 108 readers (all wires, centrifuge-js, pusher-js),
// half of them behind nginx and half behind HAProxy, except those that accept pushes.

import { setTimeout as sleep } from 'node:timers/promises'
import { Account } from './account.ts'
import { Publisher } from './publisher.ts'
import { type Kind, KINDS } from './readers/index.ts'
import type { Reader } from './readers/reader.ts'
import type { World } from './world.ts'
import { WAIT_LIMIT_MS } from '../support/until.ts'
import type { Application } from './lives/application.ts'
import { Members } from './lives/members.ts'

type ToldOfLives = Awaited<ReturnType<Members['end']>>

/** Events per second. */
const RATE = 50
/** One of this many events goes to the second channel. */
const SECOND = 5

/** Missing events count as lost after this time without progress of any reader, ms: a busy machine is slow. */
const STUCK_AFTER = 30_000
/** Ms between two counts of missing events: counting takes some time. */
const COUNT_EVERY = 100
/** Deadline for a reader to leave, ms. */
const STOPPED_WITHIN = 30_000

export class Load {
  readonly account = new Account()
  /** All readers follow the first channel, and half of them also the second. */
  readonly channels: readonly [string, string]
  /** The room that users join and leave, if there is an application. */
  readonly room: string
  readonly readers: Reader[] = []
  /** The ports of the load balancers; below, the ports of the edges for HTTP/2. */
  readonly #ports: readonly number[]
  readonly #h2cPorts: readonly number[]
  readonly #application: Application | undefined
  readonly #random: () => number
  #publisher: Publisher | undefined
  #members: Members | undefined

  /** `name` is part of the names of the load's channels, which must be new. */
  constructor(name: string, { topology, h2cPorts, application, random }: World) {
    this.#application = application
    this.#random = random
    this.room = `room:${name}`
    this.channels = [`${name}.a`, `${name}.b`]
    this.#ports = topology.lbs.map(({ port }) => port)
    this.#h2cPorts = h2cPorts
  }

  /** Starts the readers, then publishes once all of them are connected. */
  async begin(): Promise<void> {
    await this.#opened(KINDS.flatMap(kind => this.#read(kind, kind.count, 'reader', 'earliest')))
    if (this.#application !== undefined)
      this.#members = new Members(this.room, this.#application, this.#ports, this.#random)
    const [first, second] = this.channels
    this.#publisher = new Publisher({
      account: this.account,
      ports: this.#ports,
      rate: RATE,
      channel: n => (n % SECOND === 0 ? second : first),
    })
  }

  /** Additional readers, one of each kind, which start with the next event. Returns when all are connected. */
  async join(): Promise<void> {
    await this.#opened(KINDS.flatMap(kind => this.#read(kind, 1, 'newcomer', 'latest')))
  }

  /** Publishes that were not answered 201 at the first attempt. */
  get refused(): number {
    return (this.#publisher?.refused ?? 0) + (this.#publisher?.unanswered ?? 0)
  }

  /** Reader connections that ended or were rejected. */
  get ends(): number {
    return this.readers.reduce((sum, { ends }) => sum + ends, 0)
  }

  /** Makes all users leave, and judges the webhooks. `gaps`: whether the application may receive gaps. */
  async livesReceived(gaps: 'none' | 'may'): Promise<ToldOfLives | undefined> {
    return await this.#members?.end(gaps)
  }

  /** Stops publishing, waits until all publishes are answered and all events received, then stops the readers. */
  async end(): Promise<void> {
    await this.#publisher?.stop(WAIT_LIMIT_MS)
    if (!(await fallsToNone(() => this.account.missing(), STUCK_AFTER))) {
      for (const { name, waitsFor } of this.readers)
        if (waitsFor !== undefined) this.account.fault(`${name} still waits for ${waitsFor}`)
    }
    // Duplicates would arrive now.
    await sleep(500)
    await Promise.all(this.readers.map(reader => this.#stopped(reader)))
  }

  /** A reader that does not leave is a fault of the suite: its name is reported. */
  async #stopped(reader: Reader): Promise<void> {
    const timeout = new AbortController()
    const { signal } = timeout
    const late = sleep(STOPPED_WITHIN, true, { signal }).catch(() => false)
    if (await Promise.race([reader.stop(), late])) this.account.fault(`${reader.name} does not leave`)
    timeout.abort()
  }

  #read(kind: Kind, count: number, role: string, begin: 'earliest' | 'latest'): Reader[] {
    const [first, second] = this.channels
    const readers = Array.from({ length: count }, (_, turn) => {
      const port = this.#ports[turn % this.#ports.length] ?? 0
      return new kind.Reader({
        name: `${kind.name} ${role} ${turn + 1}`,
        ports: kind.behind === 'load balancers' ? [port] : this.#h2cPorts,
        channels: turn % 4 < 2 ? [first] : [first, second],
        begin,
        account: this.account,
        number: this.readers.length + turn,
      })
    })
    this.readers.push(...readers)
    return readers
  }

  async #opened(readers: readonly Reader[]): Promise<void> {
    const late = AbortSignal.timeout(WAIT_LIMIT_MS)
    const expired = new Promise<never>((_resolve, reject) => {
      late.addEventListener('abort', () => reject(new Error('not all readers connected')), { once: true })
    })
    await Promise.race([Promise.all(readers.map(({ opened }) => opened)), expired])
  }
}

/** Returns whether `missing` falls to 0. This may take any time, if it falls at least every `ms` ms. */
export async function fallsToNone(missing: () => number, ms: number, every = COUNT_EVERY): Promise<boolean> {
  let least = Number.POSITIVE_INFINITY
  let since = performance.now()
  for (;;) {
    const count = missing()
    if (count === 0) return true
    if (count < least) [least, since] = [count, performance.now()]
    else if (performance.now() - since >= ms) return false
    await sleep(every)
  }
}
