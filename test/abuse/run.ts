// One attack: the good clients at rest, the attack beside them, what is left of it, and whether all goals were reached.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Verdict } from '../faults/account.ts'
import { descriptorsOf, type Footprint, leftOver } from '../footprint.ts'
import { residentOf } from '../../bench/processes/proc.ts'
import { until } from '../until.ts'
import type { Attack, Done } from './attack.ts'
import { GoodClients } from './good-clients.ts'
import { Attacker } from './hire.ts'
import { startWorld, type World } from './world.ts'

/** The good clients' p99 during an attack, in times of that at rest, has to stay below this. */
const TIMES = 5
/** A p99 at rest below this, ms, counts as this: on two cores less is the scheduler's. */
const LEAST = 5
/** The node has to be ready within this once the attackers have gone, ms. */
const READY_WITHIN = 5000
/** Descriptors and readers have to be back within this, ms: clients who stand still are cut after a few seconds. */
const BACK_WITHIN = 20_000
/** What memory may grow by, bytes: what V8 and the C library keep for the next time is not lost. */
const HEAP_ROOM = 16 * 2 ** 20
const RESIDENT_ROOM = 64 * 2 ** 20
const REDIS_ROOM = 4 * 2 ** 20

export interface Times {
  /** How long the good clients are alone, before the attack and after it, s. */
  readonly rest: number
  /** How long the attack goes on, s. */
  readonly attack: number
}

/** A figure before the attack, at its highest during it, and after it. */
export interface Course {
  readonly before: number
  readonly during: number
  readonly after: number
}

export interface Outcome {
  readonly name: string
  readonly title: string
  readonly rate: string
  readonly did: Done['did']
  /** Of the good clients, ms. */
  readonly p99: Course
  /** Resident memory of the node, bytes; before and after: behind a garbage collection. */
  readonly resident: Course
  /** V8's heap and buffers, bytes; likewise. */
  readonly heap: Course
  readonly descriptors: Course
  readonly readers: Course
  readonly connections: Course
  /** Redis' used_memory, bytes; 0 where there is no Redis. */
  readonly redis: Course
  /** Ms until /readyz answered 200 and new ws and sse clients were let in; undefined where that took too long. */
  readonly ready: number | undefined
  /** Ms until descriptors, sockets, connections and readers were no more than before; likewise. */
  readonly back: number | undefined
  readonly verdict: Verdict
  /** Publishes of the good publisher that were refused or not answered at first. */
  readonly refused: number
  /** Connections of the good clients that ended. */
  readonly ends: number
  /** Polls of new clients that were not answered 200 during the attack. */
  readonly turnedAway: number
  /** Goals that were missed, in words: `slow` for those that depend on the machine, `wrong` for those that don't. */
  readonly slow: readonly string[]
  readonly wrong: readonly string[]
}

export interface RunOptions extends Times {
  readonly built: boolean
  readonly say: (text: string) => void
}

export async function runAttack(
  attack: Attack,
  { built, rest, attack: lasts, say }: RunOptions,
): Promise<Outcome> {
  const channel = 'good'
  const world = await startWorld(attack, channel, built)
  const good = new GoodClients(world.port, channel)
  let attacker: Attacker | undefined
  try {
    await until('the node is ready', () => world.ready())
    attacker = await Attacker.hire({ name: attack.name, target: world.target })
    await good.begin()
    say(`at rest for ${rest} s`)
    // What was just started, and its code, gets warm.
    await sleep(1000)
    const restFrom = performance.now()
    await sleep(rest * 1000)
    const before = await settled(world)
    const redisBefore = await world.redisMemory()

    say(`the attack, for ${lasts} s: ${attack.rate}`)
    const watch = new Watch(world)
    const over = new AbortController()
    const attackFrom = performance.now()
    good.visit(over.signal)
    attacker.begin()
    await sleep(lasts * 1000)
    const done = await attacker.stop()
    const attackTo = performance.now()
    over.abort()
    const { turnedAway } = good
    const peaks = watch.stop()

    say('the attackers have gone')
    const ready = await timed(READY_WITHIN, signal => isReady(world, good, signal))
    const left = { text: '' }
    const back = await timed(BACK_WITHIN, async signal => {
      do left.text = await whatIsLeft(world, before)
      while (left.text !== '' && !signal.aborted && world.ended === undefined)
      return left.text === ''
    })
    const afterFrom = performance.now()
    await sleep(rest * 1000)
    const after = await settled(world).catch(() => undefined)
    const redisAfter = await world.redisMemory()
    await good.end(world.ended === undefined)

    const course = (name: keyof Footprint): Course => ({
      before: before[name],
      during: peaks[name],
      after: after?.[name] ?? Number.NaN,
    })
    const figures = {
      p99: {
        before: good.p99(restFrom, attackFrom),
        during: good.p99(attackFrom, attackTo),
        after: good.p99(afterFrom, Number.POSITIVE_INFINITY),
      },
      resident: course('resident'),
      heap: course('heap'),
      descriptors: course('descriptors'),
      readers: course('readers'),
      connections: course('connections'),
      redis: { before: redisBefore, during: peaks.redis, after: redisAfter },
      ready,
      back,
      verdict: good.account.judge(),
      refused: good.refused,
      ends: good.ends,
      turnedAway,
    }
    const { name, title, rate } = attack
    return {
      name,
      title,
      rate,
      did: done.did,
      ...figures,
      slow: tooSlow(figures),
      wrong:
        world.ended !== undefined
          ? [world.ended]
          : [...(done.wrong ?? []), ...complaints(attack, figures, left.text)],
    }
  } finally {
    await attacker?.kill()
    await good.end(false)
    await world.close()
  }
}

type Figures = Omit<Outcome, 'name' | 'title' | 'rate' | 'did' | 'slow' | 'wrong'>

function tooSlow({ p99, ready }: Figures): string[] {
  const slow: string[] = []
  const most = TIMES * Math.max(LEAST, p99.before)
  if (!(p99.during < most))
    slow.push(`p99 ${round(p99.during)} ms, ${round(p99.during / p99.before)} × that at rest`)
  if (ready === undefined) slow.push(`not ready within ${READY_WITHIN / 1000} s`)
  return slow
}

function complaints({ visitors }: Attack, figures: Figures, left: string): string[] {
  const { verdict, back, heap, resident, redis, turnedAway } = figures
  const wrong: string[] = []
  const none = (count: number, what: string) => {
    if (count > 0) wrong.push(`${count} ${what}`)
  }
  if (back === undefined) wrong.push(`not back: ${left}`)
  const grown = ({ before, after }: Course, room: number, what: string) => {
    if (!(after <= before + room)) wrong.push(`${what} ${mib(before)} → ${mib(after)} MiB`)
  }
  grown(heap, HEAP_ROOM, 'heap')
  grown(resident, RESIDENT_ROOM, 'memory')
  grown(redis, REDIS_ROOM, 'Redis')
  if (visitors === 'served') none(turnedAway, 'polls of new clients refused')
  none(verdict.lost, 'lost')
  none(verdict.repeated, 'repeated')
  none(verdict.reordered, 'out of order')
  none(verdict.gaps, 'gaps')
  none(verdict.published - verdict.acknowledged, 'never acknowledged')
  none(verdict.faulty, `findings: ${verdict.faults.join('; ')}`)
  return wrong
}

/** Ms until `holds` says that it does; undefined where that takes longer than `within`. */
async function timed(
  within: number,
  holds: (signal: AbortSignal) => Promise<boolean>,
): Promise<number | undefined> {
  const began = performance.now()
  const did = await holds(AbortSignal.timeout(within))
  const ms = performance.now() - began
  return did && ms <= within ? ms : undefined
}

async function isReady(world: World, good: GoodClients, signal: AbortSignal): Promise<boolean> {
  while (!(await world.ready())) {
    if (signal.aborted || world.ended !== undefined) return false
    await sleep(20)
  }
  return good.newcomers(signal)
}

/** What exceeds the counts from before, in words. */
async function whatIsLeft(world: World, before: Footprint): Promise<string> {
  await sleep(100)
  try {
    return leftOver(before, await world.footprint()).join(', ')
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

/** Looks at the node behind a garbage collection. */
async function settled(world: World): Promise<Footprint> {
  world.collect()
  // It is collected in the node's next turn.
  await sleep(300)
  return world.footprint()
}

/** Looks at the node all the time, for the highest of each figure. */
class Watch {
  readonly #peaks = {
    descriptors: 0,
    sockets: 0,
    connections: 0,
    readers: 0,
    channels: 0,
    heap: 0,
    resident: 0,
    redis: 0,
  }
  readonly #timers: NodeJS.Timeout[]

  constructor(world: World) {
    const { pid } = world.node
    const see = (figures: Partial<Record<keyof Watch['peaks'], number>>) => {
      for (const [name, value] of Object.entries(figures) as [keyof Watch['peaks'], number][])
        this.#peaks[name] = Math.max(this.#peaks[name], value)
    }
    const byKernel = () => see({ descriptors: descriptorsOf(pid), resident: residentOf([pid]) })
    let asking = false
    const byMetrics = async () => {
      if (asking) return
      asking = true
      const [footprint, redis] = await Promise.all([
        world.footprint().catch(() => ({})),
        world.redisMemory().catch(() => 0),
      ])
      see({ ...footprint, redis })
      asking = false
    }
    this.#timers = [setInterval(byKernel, 100), setInterval(() => void byMetrics(), 500)]
  }

  get peaks() {
    return this.#peaks
  }

  stop() {
    for (const timer of this.#timers) clearInterval(timer)
    return { ...this.#peaks }
  }
}

export function mib(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(0)
}

export function round(value: number): string {
  return value.toFixed(value < 100 ? 1 : 0)
}
