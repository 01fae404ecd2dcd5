// One case: a load, a fault in the middle of it, and the verdict of the account.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Verdict } from './account.ts'
import { atRest, type Census, type Course, restored, takeCensus } from './census.ts'
import type { Expected, Fault } from './faults.ts'
import type { LivesVerdict } from './lives/notifications.ts'
import { Load } from './load.ts'
import type { World } from './world.ts'

/** How long the load runs before the fault, ms. */
const BEFORE = 1000
/** How long it runs after the fault, ms. */
const AFTER = 1000

export interface Outcome {
  readonly name: string
  readonly title: string
  readonly verdict: Verdict
  /** Webhooks of joins and leaves that the application received; undefined without an application. */
  readonly lives: LivesVerdict | undefined
  /** Publish attempts that were answered 503, or not at all. */
  readonly refused: number
  /** Connections of readers that ended. */
  readonly ends: number
  readonly seconds: number
  /** Resources of nodes and Redis; undefined if the case did not complete. */
  readonly held: Course | undefined
  /** Failures, as text. Empty: passed. */
  readonly wrong: readonly string[]
  /** Further findings. */
  readonly notes: readonly string[]
}

export async function runFault<W extends World>(fault: Fault<W>, world: W): Promise<Outcome> {
  return runCase(fault, world, async load => {
    await fault.inject(world, load)
    return []
  })
}

/** Runs `inject` under load. `inject` returns notes, and raises for failures that the account can't show. */
export async function runCase(
  expected: Expected,
  world: World,
  inject: (load: Load) => Promise<string[]>,
): Promise<Outcome> {
  const began = performance.now()
  const { name, title } = expected
  const load = new Load(`${name}.${Date.now().toString(36)}`, world)
  let notes: string[] = []
  const failed: string[] = []
  let ends = 0
  let [before, during]: (Census | undefined)[] = []
  try {
    await world.begin(name)
    before = await atRest(world)
    await load.begin()
    await sleep(BEFORE)
    during = await takeCensus(world)
    ends = load.ends
    notes = await inject(load)
    await sleep(AFTER)
  } catch (error) {
    failed.push(error instanceof Error ? error.message : String(error))
  }
  ends = load.ends - ends
  world.say('waiting until all publishes are answered and all events received')
  const [lives] = await Promise.all([
    load.livesReceived(expected.gaps === 'none' ? 'none' : 'may'),
    load.end(),
  ])
  failed.push(...(lives?.wrong ?? []))
  const verdict = load.account.judge()
  const { refused } = load
  let held: Course | undefined
  if (before !== undefined && during !== undefined) {
    world.say('waiting until all resources are released')
    await world.forget()
    const { after, more } = await restored(world, before, [...load.channels, load.room])
    held = { before, during, after }
    failed.push(...more.map(text => `not released: ${text}`))
  }
  const seconds = Math.round((performance.now() - began) / 1000)
  const wrong = [...failed, ...complaints(expected, verdict, load.readers.length, refused, ends)]
  return { name, title, verdict, lives, refused, ends, seconds, held, wrong, notes }
}

function complaints(
  { gaps, refuses, cuts }: Expected,
  verdict: Verdict,
  readers: number,
  refused: number,
  ends: number,
): string[] {
  const { published, acknowledged, publishedAgain, lost, repeated, reordered, ambiguous, faulty } = verdict
  const wrong: string[] = []
  const none = (count: number, what: string) => {
    if (count > 0) wrong.push(`${count} ${what}`)
  }
  none(lost, 'lost silently')
  none(repeated, 'repeated')
  none(reordered, 'out of order')
  none(ambiguous, 'ids of two events')
  none(published - acknowledged, 'never acknowledged')
  if (gaps === 'none') {
    none(verdict.gaps, 'gaps, although no event can be lost')
    none(publishedAgain, 'events appended twice')
  }
  if (gaps === 'must' && verdict.gaps < readers)
    wrong.push(`only ${verdict.gaps} gaps for ${readers} readers`)
  // A fault without a visible effect was not injected properly.
  if (refuses === true && refused === 0) wrong.push('no publish was refused')
  if (cuts === true && ends === 0) wrong.push('no connection of a reader ended')
  if (published === 0) wrong.push('nothing was published')
  if (faulty > 0) wrong.push(`${faulty} findings: ${verdict.faults.join('; ')}`)
  return wrong
}
