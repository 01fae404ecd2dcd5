// The judge: pure functions that find the goals that an attack's figures miss.

import type { Verdict } from '../faults/account.ts'
import type { Attack } from './attack.ts'

/** Limit of the good clients' p99 during an attack, as a multiple of the p99 at rest. */
const TIMES = 5
/** A lower p99 at rest counts as this value, ms, because on two cores it depends on the scheduler. */
const LEAST = 5
/** The node must be ready within this time after the attackers have gone, ms. */
export const READY_WITHIN = 5000
/** Descriptors and readers must be released within this time, ms. Stalled clients are cut after a few seconds. */
export const BACK_WITHIN = 20_000
/**
 * Allowed growth of memory, bytes: V8 and the C library keep some free memory for later. After 400 MiB in events of
 * 1 MB, the C library keeps 15 to 95 MiB; it keeps no more after 40 pages than after 10.
 */
const HEAP_ROOM = 16 * 2 ** 20
const RESIDENT_ROOM = 96 * 2 ** 20
const REDIS_ROOM = 4 * 2 ** 20

/** A figure before the attack, its maximum during the attack, and the figure afterwards. */
export interface Course {
  readonly before: number
  readonly during: number
  readonly after: number
}

export interface Figures {
  /** p99 of the good clients' delays, ms. */
  readonly p99: Course
  /** Resident memory of the node, bytes. Before and after the attack, it is measured after a garbage collection. */
  readonly resident: Course
  /** V8's heap and buffers, bytes, also measured after a garbage collection. */
  readonly heap: Course
  readonly descriptors: Course
  readonly readers: Course
  readonly connections: Course
  /** Redis' used_memory, bytes; 0 without Redis. */
  readonly redis: Course
  /** Ms until /readyz answered 200 and new ws and sse clients were accepted; undefined if that took too long. */
  readonly ready: number | undefined
  /** Ms until descriptors, sockets, connections, readers and channels were no more than before, or undefined. */
  readonly back: number | undefined
  /** Resources that were not released, as text. */
  readonly left: string
  readonly verdict: Verdict
  /** Publishes of the good publisher whose first attempt was refused or not answered. */
  readonly refused: number
  /** Connections of the good clients that ended. */
  readonly ends: number
  /** Polls of new clients that were not answered with 200 during the attack. */
  readonly turnedAway: number
}

/** Missed goals that depend on the machine, as text. */
export function tooSlow({ p99, ready }: Figures): string[] {
  const slow: string[] = []
  const most = TIMES * Math.max(LEAST, p99.before)
  if (!(p99.during < most))
    slow.push(`p99 ${round(p99.during)} ms, ${round(p99.during / p99.before)} × the p99 at rest`)
  if (ready === undefined) slow.push(`not ready within ${READY_WITHIN / 1000} s`)
  return slow
}

/** Missed goals that do not depend on the machine, as text. */
export function complaints(
  { visitors }: Pick<Attack, 'visitors'>,
  { verdict, left, heap, resident, redis, turnedAway }: Figures,
): string[] {
  const wrong: string[] = []
  const none = (count: number, what: string) => {
    if (count > 0) wrong.push(`${count} ${what}`)
  }
  if (left !== '') wrong.push(`not released: ${left}`)
  const grown = ({ before, after }: Course, room: number, what: string) => {
    if (after > before + room) wrong.push(`${what} ${mib(before)} → ${mib(after)} MiB`)
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

export function mib(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(0)
}

export function round(value: number): string {
  return value.toFixed(value < 100 ? 1 : 0)
}
