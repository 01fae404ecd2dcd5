// The primary process: it forks the workers, replaces those that end, relays their questions, and stops them. It holds the
// listening socket, through node:cluster, and neither serves HTTP nor needs Redis.

import cluster, { type Worker } from 'node:cluster'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server } from 'node:net'
import type { FastifyBaseLogger } from 'fastify'
import type { Config } from '../../config/config.ts'
import { delay } from '../../backoff.ts'
import { addressOf, urlOf } from '../listen.ts'
import { endWithGrace, spared, stopsWithin } from '../stop.ts'
import { Dialogue, type ToPrimary, type ToWorker } from './dialogue.ts'
import { type Measured, Totals } from './totals.ts'

/** The delay before a worker is replaced, ms: the first one, and the maximum if it keeps ending soon after its start. */
const FIRST_RESTART_DELAY_MS = 200
const LONGEST_RESTART_DELAY_MS = 10_000
/** The lifetime from which a worker's end does not count as soon after its start, ms. */
const LONG_LIFE_MS = 60_000

/** How long a worker may take to answer, ms. */
const WORKER_ANSWER_MS = 1000

/** How long after its own time limit a worker is killed, ms. */
const KILL_AFTER_MS = 2000

/** A worker could not start. The message is for the user: one line, or a stack. */
export class StartFailed extends Error {
  override readonly name = 'StartFailed'
}

interface Member {
  readonly worker: Worker
  readonly dialogue: Dialogue<ToWorker, ToPrimary>
  /** How many times in a row it or its predecessors ended soon after their start. */
  readonly failures: number
  readonly began: number
  /** Whether it has started to listen. */
  listens: boolean
  /** Why it could not start, as it reported. */
  why: string | undefined
  /** Whether it ended by itself with 0, or had not started to listen. */
  readonly ended: Promise<boolean>
}

class Primary {
  readonly #config: Config
  readonly #logger: FastifyBaseLogger
  /** Live workers, by id. */
  readonly #members = new Map<number, Member>()
  readonly #replacements = new Set<NodeJS.Timeout>()
  readonly #totals = new Totals()
  #gathering: Promise<string> | undefined
  /** Reserves the port for the workers until the first of them is about to listen. */
  #keeper: Server | undefined
  #port = 0
  #started = false
  #stopping = false

  constructor(config: Config, logger: FastifyBaseLogger) {
    this.#config = config
    this.#logger = logger
  }

  /** Returns the address, as a URL, when all workers listen. Raises StartFailed, and the errors of listening. */
  async start(): Promise<string> {
    const { host, port, workers } = this.#config
    if (port === 0) {
      // Chosen once: node:cluster would choose another one after all workers had ended at once.
      this.#keeper = createServer(socket => socket.destroy()).listen(0, await addressOf(host))
      await once(this.#keeper, 'listening')
      this.#port = (this.#keeper.address() as AddressInfo).port
    }
    cluster.schedulingPolicy = cluster.SCHED_RR
    const listening = await Promise.all(Array.from({ length: workers }, () => this.#firstOf()))
    this.#started = true
    return listening[0] ?? ''
  }

  /** Returns when all have ended, and whether each did so by itself. */
  async stop(): Promise<boolean> {
    this.#stopping = true
    for (const timer of this.#replacements) clearTimeout(timer)
    const ends = [...this.#members.values()].map(({ worker, dialogue, listens, ended }) => {
      // A starting worker serves nobody yet, and may not receive messages yet.
      if (listens) void dialogue.ask({ of: 'stop' }, WORKER_ANSWER_MS)
      else worker.process.kill('SIGTERM')
      return ended
    })
    return (await Promise.all(ends)).every(well => well)
  }

  /** Kills all remaining workers. */
  kill(): void {
    for (const { worker } of this.#members.values()) worker.process.kill('SIGKILL')
  }

  /** Makes all workers reload their rules. A starting worker, which may miss the signal, reads them anyway. */
  hangUp(): void {
    for (const { worker, listens } of this.#members.values()) if (listens) worker.process.kill('SIGHUP')
  }

  /** Forks a worker for the start, and returns the address at which it listens. Raises StartFailed. */
  async #firstOf(): Promise<string> {
    const member = this.#fork(0)
    return await new Promise((resolve, reject) => {
      const { tlsCert } = this.#config
      member.worker.on('listening', ({ address, port }) => {
        if (this.#isLast(port)) resolve(urlOf(address, port, tlsCert !== undefined))
      })
      void member.ended.then(() => {
        if (!this.#stopping) reject(new StartFailed(member.why ?? 'a worker ended before it listened'))
      })
    })
  }

  /** Whether a worker that listens on this port listens on all: PORT is the last. */
  #isLast(port: number): boolean {
    const { h2cPort, metricsPort } = this.#config
    return port !== h2cPort && port !== metricsPort
  }

  #fork(failures: number): Member {
    const worker = cluster.fork()
    const ended = new Promise<boolean>(resolve => {
      const end = (code: number | null, signal: string | null, err?: Error) => {
        if (this.#members.delete(worker.id)) this.#ended(member, { code, signal, err })
        resolve(code === 0 || !member.listens)
      }
      worker.once('exit', end)
      // Handles a failed fork. Other errors are about a message that was not sent to an ending worker.
      worker.on('error', error => {
        if (worker.process.pid === undefined) end(null, null, error)
      })
    })
    const dialogue = new Dialogue<ToWorker, ToPrimary>(worker, question => this.#answer(member, question))
    const began = performance.now()
    const member: Member = { worker, dialogue, failures, began, listens: false, why: undefined, ended }
    this.#members.set(worker.id, member)
    worker.on('listening', ({ port }) => {
      if (!this.#isLast(port)) return
      member.listens = true
      if (this.#started) this.#logger.info({ worker: worker.id }, 'a worker replaced one that ended')
    })
    return member
  }

  #ended(
    { worker, failures, began, listens, why }: Member,
    how: { code: number | null; signal: string | null; err?: Error | undefined },
  ): void {
    this.#totals.ended(worker.id)
    // The start reports it, once.
    if (this.#stopping || (!this.#started && !listens)) return
    const times = performance.now() - began < LONG_LIFE_MS ? failures + 1 : 1
    const wait = delay(times, FIRST_RESTART_DELAY_MS, LONGEST_RESTART_DELAY_MS)
    const { pid } = worker.process
    this.#logger[how.code === 0 ? 'info' : 'error'](
      { worker: worker.id, pid, ...how, why, replacedIn: Math.round(wait) },
      listens ? 'a worker ended' : 'a worker could not start',
    )
    const timer = setTimeout(() => {
      this.#replacements.delete(timer)
      this.#fork(times)
    }, wait)
    this.#replacements.add(timer)
  }

  #answer(member: Member, question: ToPrimary): unknown {
    switch (question.of) {
      case 'port':
        return this.#freePort()
      case 'failed':
        member.why = question.why
        return true
      case 'metrics':
        // One at a time, for all callers meanwhile.
        this.#gathering ??= this.#metrics().finally(() => {
          this.#gathering = undefined
        })
        return this.#gathering
      case 'readers':
        return this.#readers(question.channel)
    }
  }

  #freePort(): number {
    // It is free as soon as this returns.
    this.#keeper?.close()
    this.#keeper = undefined
    return this.#port
  }

  async #metrics(): Promise<string> {
    const answered = new Set<number>()
    await this.#askAll({ of: 'metrics' }, (answer, id) => {
      answered.add(id)
      this.#totals.set(id, answer as Measured)
    })
    return this.#totals.text(answered)
  }

  async #readers(channel: string): Promise<number> {
    let sum = 0
    await this.#askAll({ of: 'readers', channel }, answer => {
      sum += answer as number
    })
    return sum
  }

  /** Asks every serving worker. `heard` receives the answers that arrive in time. */
  async #askAll(question: ToWorker, heard: (answer: unknown, worker: number) => void): Promise<void> {
    const serving = [...this.#members.values()].filter(({ listens }) => listens)
    await Promise.all(
      serving.map(async ({ dialogue, worker }) => {
        const answer = await dialogue.ask(question, WORKER_ANSWER_MS)
        if (answer !== undefined && this.#members.has(worker.id)) heard(answer, worker.id)
      }),
    )
  }
}

/**
 * Runs the workers of `config`, and returns their address once all of them listen. Stops them when the process receives
 * a signal to end; however it ends, none remains. `fail` ends this process at once, with exit code 1. Raises
 * StartFailed, and what listening may raise.
 */
export async function supervise(
  config: Config,
  logger: FastifyBaseLogger,
  fail: () => never,
): Promise<string> {
  const primary = new Primary(config, logger)
  process.on('exit', () => primary.kill())
  const spare = spared(config)
  for (const signal of spare) process.on(signal, () => primary.hangUp())
  endWithGrace(
    { within: stopsWithin(config) + KILL_AFTER_MS, logger, spare, fail },
    async (signal, error) => {
      if (!error)
        logger.info({ signal, workers: config.workers }, signal ? `${signal}: stopping` : 'stopping')
      const well = await primary.stop()
      if (!well) throw new Error('a worker did not end by itself')
      if (!error) logger.info('all workers stopped')
    },
  )
  return await primary.start()
}
