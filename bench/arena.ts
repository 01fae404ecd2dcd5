// The environment of one run: a fresh Redis, the measured server, a load generator and a publisher, each a
// separate process on loopback.

import { rmSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { GeneratorMethods } from './load/generator.ts'
import type { PublisherMethods } from './load/publisher.ts'
import { Remote } from './load/remote.ts'
import type { Peer, PeerOptions, RunningPeer } from './peers/peer.ts'
import { type Cpu, cpuOf, residentOf } from './processes/proc.ts'
import { type RunningRedis, startRedis } from './processes/redis.ts'

export type Generator = Remote<GeneratorMethods>
export type Publisher = Remote<PublisherMethods>

/** A server with more resident memory than this has failed, bytes. */
export const MEMORY_LIMIT = 2 * 2 ** 30

const GENERATOR = fileURLToPath(new URL('./load/generator.ts', import.meta.url))
const PUBLISHER = fileURLToPath(new URL('./load/publisher.ts', import.meta.url))
/** Ms between two samples of memory. */
const SAMPLE_EVERY = 100

export type ArenaOptions = Partial<Pick<PeerOptions, 'throughRedis' | 'heartbeats' | 'env' | 'tokens'>> & {
  /** A folder for CPU profiles of the broker, if requested. */
  readonly profile: string | undefined
}

export class Arena {
  readonly dir: string
  readonly redis: RunningRedis
  readonly peer: RunningPeer
  readonly generator: Generator
  readonly publisher: Publisher
  readonly #order: Peer
  readonly #options: ArenaOptions
  readonly #more: { close(): Promise<unknown> }[] = []

  private constructor(
    dir: string,
    redis: RunningRedis,
    running: RunningPeer,
    order: Peer,
    options: ArenaOptions,
  ) {
    this.dir = dir
    this.redis = redis
    this.peer = running
    this.#order = order
    this.#options = options
    this.generator = new Remote(GENERATOR)
    this.publisher = new Remote(PUBLISHER)
  }

  /** Runs `measure` in a fresh arena, which is removed when it returns. */
  static async with<T>(peer: Peer, options: ArenaOptions, measure: (arena: Arena) => Promise<T>): Promise<T> {
    const dir = await mkdtemp(join(tmpdir(), 'fanwire-bench-'))
    const clear = () => rmSync(dir, { recursive: true, force: true })
    process.on('exit', clear)
    let redis: RunningRedis | undefined
    let arena: Arena | undefined
    try {
      redis = await startRedis(dir)
      const running = await peer.start(optionsFor(options, redis, dir))
      arena = new Arena(dir, redis, running, peer, options)
      await arena.publisher.call('open', { name: 'main', sink: running.sink })
      return await measure(arena)
    } finally {
      await arena?.close()
      await redis?.server.kill()
      process.off('exit', clear)
      clear()
    }
  }

  /** One more node of the same broker, on the same Redis. */
  async another(): Promise<RunningPeer> {
    const running = await this.#order.start(optionsFor(this.#options, this.redis, this.dir))
    this.#more.push({ close: () => this.#end(running) })
    return running
  }

  /** Another load generator, with delays independent of the first one's. */
  anotherGenerator(): Generator {
    const generator: Generator = new Remote(GENERATOR)
    this.#more.push(generator)
    return generator
  }

  async close(): Promise<void> {
    await Promise.all([this.generator.close(), this.publisher.close()])
    await this.#end(this.peer)
    for (const each of this.#more) await each.close()
  }

  /** A profile is written only when the process exits by itself. */
  #end({ server }: RunningPeer): Promise<void> {
    return this.#options.profile === undefined ? server.kill() : server.stop()
  }
}

function optionsFor(options: ArenaOptions, redis: RunningRedis, dir: string): PeerOptions {
  const { profile, ...rest } = options
  const flags = profile === undefined ? {} : { profile }
  return { throughRedis: false, heartbeats: false, ...rest, ...flags, redisUrl: redis.url, dir }
}

/** CPU and memory of a server over a period. */
export class Meter {
  readonly #server: { readonly pids: number[] }
  readonly #redis: { readonly pids: number[] }
  readonly #cpu: Cpu
  readonly #redisCpu: Cpu
  readonly #timer: NodeJS.Timeout
  /** Peak resident memory, bytes. */
  peak = 0

  /** `onFull` is called when the server exceeds its memory limit. */
  constructor({ peer, redis }: Pick<Arena, 'peer' | 'redis'>, onFull: () => void = () => {}) {
    this.#server = peer.server
    this.#redis = redis.server
    this.#cpu = cpuOf(this.#server.pids)
    this.#redisCpu = cpuOf(this.#redis.pids)
    this.#timer = setInterval(() => {
      this.peak = Math.max(this.peak, residentOf(this.#server.pids))
      if (this.peak > MEMORY_LIMIT) onFull()
    }, SAMPLE_EVERY)
  }

  /** CPU used since the meter was created, µs; `kernel` is the part of `cpu` spent in the kernel. */
  read(): { cpu: number; kernel: number; redisCpu: number } {
    const { all, kernel } = cpuOf(this.#server.pids)
    return {
      cpu: all - this.#cpu.all,
      kernel: kernel - this.#cpu.kernel,
      redisCpu: cpuOf(this.#redis.pids).all - this.#redisCpu.all,
    }
  }

  stop(): void {
    clearInterval(this.#timer)
  }
}
