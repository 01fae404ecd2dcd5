// Runs one attack: measures the good clients at rest and during the attack, and the leftovers afterwards, and judges
// whether all goals were met.

import { setTimeout as sleep } from 'node:timers/promises'
import { type Footprint, leftOver } from '../support/footprint.ts'
import { until } from '../support/until.ts'
import type { Attack, Done } from './attack.ts'
import { GoodClients } from './good-clients.ts'
import { Attacker } from './hire.ts'
import { BACK_WITHIN, complaints, type Course, type Figures, READY_WITHIN, tooSlow } from './judge.ts'
import { Watch } from './watch.ts'
import { startWorld, type World, type WorldOptions } from './world.ts'

export interface Times {
  /** Quiet time before and after the attack, s. */
  readonly rest: number
  /** Duration of the attack, s. */
  readonly attack: number
}

export interface Outcome extends Figures {
  readonly name: string
  readonly title: string
  readonly rate: string
  readonly did: Done['did']
  /** Missed goals that depend on the machine, as text. */
  readonly slow: readonly string[]
  /** Missed goals that do not depend on the machine, as text. */
  readonly wrong: readonly string[]
}

export interface RunOptions extends Times, WorldOptions {
  /** Deadline for readiness and for the release of resources, ms, in place of the goals if the machine may be busy. */
  readonly patience?: number
  readonly say: (text: string) => void
}

export async function runAttack(
  attack: Attack,
  { rest, attack: lasts, patience, say, ...options }: RunOptions,
): Promise<Outcome> {
  const channel = 'good'
  const world = await startWorld(attack, channel, options)
  const good = new GoodClients(world.port, channel)
  const over = new AbortController()
  let attacker: Attacker | undefined
  let watch: Watch | undefined
  try {
    await until('the node is ready', () => world.ready())
    attacker = await Attacker.hire({ name: attack.name, target: world.target })
    await good.begin()
    say(`at rest for ${rest} s`)
    // Observes the node at rest as well, because observation costs CPU.
    watch = new Watch(world)
    good.visit(over.signal)
    // Warm-up of the processes that were just started.
    await sleep(1000)
    const restFrom = performance.now()
    await sleep(rest * 1000)
    const before = await settled(world)
    const redisBefore = await world.redisMemory()

    say(`the attack, for ${lasts} s: ${attack.rate}`)
    watch.reset()
    good.turnedAway = 0
    const attackFrom = performance.now()
    attacker.begin()
    await sleep(lasts * 1000)
    const done = await attacker.stop()
    const attackTo = performance.now()
    over.abort()
    watch.stop()
    const { turnedAway } = good
    const { peaks } = watch

    say('the attackers have gone')
    const ready = await timed(patience ?? READY_WITHIN, signal => isReady(world, good, signal))
    await world.relieve()
    let left = ''
    const back = await timed(patience ?? BACK_WITHIN, async signal => {
      do left = await whatIsLeft(world, before)
      while (left !== '' && !signal.aborted && world.ended === undefined)
      return left === ''
    })
    const afterFrom = performance.now()
    await sleep(rest * 1000)
    const after = await settled(world).catch(() => undefined)
    const redisAfter = await world.redisMemory()
    const { ends } = good
    await good.end(world.ended === undefined)

    const course = (name: keyof Footprint): Course => ({
      before: before[name],
      during: peaks[name],
      after: after?.[name] ?? Number.NaN,
    })
    const figures: Figures = {
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
      left,
      verdict: good.account.judge(),
      refused: good.refused,
      ends,
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
        world.ended !== undefined ? [world.ended] : [...(done.wrong ?? []), ...complaints(attack, figures)],
    }
  } finally {
    over.abort()
    watch?.stop()
    await attacker?.kill()
    await good.end(false)
    await world.close()
  }
}

/** Ms until `holds` returns true; undefined if that takes longer than `within` ms. */
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

/** Counts that exceed those from before, as text. */
async function whatIsLeft(world: World, before: Footprint): Promise<string> {
  await sleep(100)
  try {
    return leftOver(before, await world.footprint()).join(', ')
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

/** Reads the node's figures after a garbage collection. */
async function settled(world: World): Promise<Footprint> {
  world.collect()
  // The node collects its garbage in its next turn.
  await sleep(300)
  return world.footprint()
}
