// Observes the peaks of the node's resources.

import { residentOf } from '../../bench/processes/proc.ts'
import { descriptorsOf, type Footprint } from '../support/footprint.ts'
import type { World } from './world.ts'

type Peaks = Record<keyof Footprint | 'redis', number>

const NOTHING: Readonly<Peaks> = {
  descriptors: 0,
  sockets: 0,
  connections: 0,
  readers: 0,
  channels: 0,
  heap: 0,
  resident: 0,
  redis: 0,
}
/** Interval between two readings, ms. A reading of /metrics costs the node some ms. */
const LOOK_EVERY = 100
const ASK_EVERY = 1000

/** Observes the node continuously. */
export class Watch {
  #peaks = { ...NOTHING }
  readonly #world: World
  readonly #timers: NodeJS.Timeout[]
  #asking = false

  constructor(world: World) {
    this.#world = world
    this.#timers = [
      setInterval(() => this.#look(), LOOK_EVERY),
      setInterval(() => void this.#ask(), ASK_EVERY),
    ]
  }

  /** The maximum of each figure since the last reset. */
  get peaks(): Readonly<Peaks> {
    return this.#peaks
  }

  reset(): void {
    this.#peaks = { ...NOTHING }
  }

  stop(): void {
    for (const timer of this.#timers) clearInterval(timer)
  }

  #look(): void {
    const { pid } = this.#world.node
    this.#see({ descriptors: descriptorsOf(pid), resident: residentOf([pid]) })
  }

  async #ask(): Promise<void> {
    if (this.#asking) return
    this.#asking = true
    const [footprint, redis] = await Promise.all([
      this.#world.footprint().catch(() => NOTHING),
      this.#world.redisMemory().catch(() => 0),
    ])
    this.#see({ ...footprint, redis })
    this.#asking = false
  }

  #see(figures: Partial<Peaks>): void {
    for (const [name, value] of Object.entries(figures) as [keyof Peaks, number][])
      this.#peaks[name] = Math.max(this.#peaks[name], value)
  }
}
