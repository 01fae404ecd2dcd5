// Random faults for some minutes, one after the other, under one load; then the account, and a check that the memory of
// one edge stayed flat.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Part } from '../../infra/local/topology.ts'
import { COLLECT } from '../../bench/processes/garbage.ts'
import { footprintOf } from '../support/footprint.ts'
import { faults } from './faults.ts'
import type { Load } from './load.ts'
import { type Outcome, runCase } from './run.ts'
import type { SingleWorld } from './world.ts'

/** Ms between two faults: `least`, and a random part of `more`. */
const BETWEEN = { least: 2000, more: 4000 }
/** Ms between two samples of the memory of an edge. */
const LOOK_MS = 10_000
/** Ms from a garbage collection to a sample: V8 collects late, so garbage would look like growth. */
const COLLECTED_AFTER_MS = 1000
/** How long the memory of an edge grows after its start, while it warms up, ms. */
const WARM_UP_MS = 60_000
/**
 * Allowed relative growth of the median memory from the first third after the warm-up to the last. V8's young generation
 * and the allocator keep what a burst needed, so resident memory may grow by more than what is in use.
 */
const FLAT = { heap: 0.1, resident: 0.25 }

type Memory = Readonly<Record<keyof typeof FLAT, number>>

export async function runRandom(minutes: number, world: SingleWorld): Promise<Outcome> {
  const expected = {
    name: 'random',
    title: `${minutes} minutes of random faults`,
    gaps: 'may' as const,
  }
  return runCase(expected, world, async load => {
    const [edge] = world.topology.edges
    if (edge === undefined) throw new Error('there is no edge')
    // No fault affects this edge, so that its memory can be sampled throughout.
    world.spared = edge.name
    const memory = watch(edge, world.application?.key)
    try {
      const done = await manyFaults(minutes, world, load)
      return [`${done} faults`, memory.judge()]
    } finally {
      memory.stop()
      world.spared = undefined
    }
  })
}

/** Injects random faults. Returns their number. */
async function manyFaults(minutes: number, world: SingleWorld, load: Load): Promise<number> {
  const began = performance.now()
  const end = began + minutes * 60_000
  let done = 0
  while (performance.now() < end) {
    const fault = faults[Math.floor(world.random() * faults.length)]
    if (fault === undefined) break
    const minute = ((performance.now() - began) / 60_000).toFixed(1)
    world.say(`minute ${minute} of ${minutes}, fault ${done + 1}: ${fault.name}`)
    await fault.inject(world, load)
    done++
    await sleep(BETWEEN.least + BETWEEN.more * world.random())
  }
  return done
}

/** Starts sampling the memory of an edge. `key` may read its metrics. */
function watch(edge: Part, key: string | undefined): { stop(): void; judge(): string } {
  const looks: Memory[] = []
  const look = async () => {
    edge.signal(COLLECT)
    await sleep(COLLECTED_AFTER_MS)
    looks.push(await footprintOf({ pid: edge.pid, port: edge.port, key }))
  }
  // An edge that does not answer fails the case through its readers; here it is one sample fewer.
  const timer = setInterval(() => void look().catch(() => {}), LOOK_MS)
  return {
    stop: () => clearInterval(timer),
    judge() {
      const warm = looks.slice(WARM_UP_MS / LOOK_MS)
      const third = Math.floor(warm.length / 3)
      if (third === 0) return 'too short a run to judge the memory'
      const [first, last] = [warm.slice(0, third), warm.slice(-third)]
      const courses = [
        courseOf('heap', 'heap and buffers in use', first, last),
        courseOf('resident', 'resident memory', first, last),
      ]
      const text = `${edge.name}, first third → last: ${courses.map(({ text }) => text).join(', ')}`
      if (courses.some(({ flat }) => !flat)) throw new Error(`not flat: ${text}`)
      return text
    },
  }
}

function courseOf(name: keyof Memory, title: string, first: readonly Memory[], last: readonly Memory[]) {
  const [from, to] = [first, last].map(looks => median(looks.map(look => look[name]))) as [number, number]
  return { text: `${title} ${mib(from)} → ${mib(to)}`, flat: to <= (1 + FLAT[name]) * from }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
}

function mib(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`
}
