// The history of a channel: which positions are still valid, and where a reader with an invalid position continues. All
// engines share this code (docs/protocol.md#gaps, ARCHITECTURE.md#the-logs-promises).

import type { Draft, IfHead, LogEvent } from '../event/event.ts'
import { ChannelEnded, type ChannelState, type EndedEpoch, HeadMoved, type Page } from './log.ts'
import { type Gap, type Position, samePosition, type Since, type Start } from '../event/position.ts'

/** How many ended epochs a channel remembers. Events before the oldest of them are not readable. */
export const REMEMBERED_EPOCHS = 16

export type { EndedEpoch } from './log.ts'

/** The data that is needed to place a cursor in a channel. */
export interface History {
  /** The current epoch. */
  readonly epoch: string
  /** Ended epochs, oldest first. */
  readonly ended: readonly EndedEpoch[]
  /** Offset of the newest event, readable or not; 0 if there was none. */
  readonly head: number
  /** Offset just before the oldest readable event; equals `head` if none is readable. */
  readonly floor: number
  /** Whether the channel has ended. */
  readonly over?: boolean
}

/** The epoch of the event at `offset`, which is readable or the next one. */
export function epochOf(history: History, offset: number): string {
  for (const ended of history.ended) if (offset <= ended.end) return ended.epoch
  return history.epoch
}

/** The position after `offset`, in the epoch of the following event, which is readable or the next one. */
function justAfter(history: History, offset: number): Position {
  return { epoch: epochOf(history, offset + 1), offset }
}

/** The position just before the oldest readable event, in that event's epoch. */
export function floorOf(history: History): Position {
  return justAfter(history, history.floor)
}

export function headOf(history: History): Position {
  return { epoch: history.epoch, offset: history.head }
}

/** Where a read since a time begins; `timeOf` gives the time of the readable event at an offset. */
export function placeSince(history: History, { since }: Since, timeOf: (offset: number) => number): Position {
  let [low, high] = [history.floor, history.head]
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if (timeOf(middle + 1) < since) low = middle + 1
    else high = middle
  }
  return justAfter(history, low)
}

/**
 * Places a start in the history: where to continue, and the gap before it, if there is one. A channel's end is not one of
 * its newest events.
 */
export function place(
  history: History,
  after: Exclude<Start, Since>,
): { start: Position; gap: Gap | undefined } {
  if (after === 'earliest') return { start: floorOf(history), gap: undefined }
  if (after === 'latest') return { start: headOf(history), gap: undefined }
  if ('last' in after) {
    const { floor, head, over } = history
    const records = after.last + (over ? 1 : 0)
    return { start: justAfter(history, Math.max(floor, head - records)), gap: undefined }
  }
  const gapTo = (to: Position) => ({ start: to, gap: { from: after, to } })
  const floor = floorOf(history)
  if (after.epoch === history.epoch) {
    const begin = history.ended.at(-1)?.end ?? 0
    if (after.offset > history.head) return gapTo(headOf(history))
    if (after.offset < Math.max(begin, history.floor)) return gapTo(floor)
    return { start: after, gap: undefined }
  }
  const at = history.ended.findIndex(each => each.epoch === after.epoch)
  const ended = history.ended[at]
  if (ended === undefined) return gapTo(floor)
  if (after.offset >= ended.end) {
    const next = Math.max(ended.end, history.floor)
    const to = { epoch: epochOf(history, next + 1), offset: next }
    // Nothing lies between the time before the channel's first event and that event.
    if (isProvisional(after) && next === 0) return { start: to, gap: undefined }
    // At the epoch's end or beyond it, events may have been lost, even if the reader's cursor has survived.
    return gapTo(to)
  }
  const begin = history.ended[at - 1]?.end ?? 0
  if (after.offset < Math.max(begin, history.floor)) return gapTo(floor)
  return { start: after, gap: undefined }
}

/**
 * Whether a position was issued before the log had a record of its channel (`provisional` in channel.lua). Random epoch
 * names are shorter.
 */
function isProvisional({ epoch, offset }: Position): boolean {
  return offset === 0 && epoch.length === 16 && epoch.startsWith('p')
}

/** The offset at which the epoch of a reader at `start` ends, and so does its page. */
export function endOfEpoch(history: History, start: Position): number {
  const ended = history.ended.find(each => each.epoch === start.epoch)
  return ended === undefined ? history.head : ended.end
}

/** The page with these consecutive events, which begin after `start`; it is cut where the epoch of `start` ends. */
export function pageOf(
  history: History,
  placed: { start: Position; gap: Gap | undefined },
  events: readonly LogEvent[],
): Page {
  const { start, gap } = placed
  const end = endOfEpoch(history, start)
  const count = Math.max(0, Math.min(events.length, end - start.offset))
  const cursor = { epoch: start.epoch, offset: start.offset + count }
  const more = cursor.offset < history.head || cursor.epoch !== history.epoch
  const page = { gap, start, events: count === events.length ? events : events.slice(0, count), cursor, more }
  return history.over && !more ? { ...page, ended: true } : page
}

/** The state of a channel with this history. */
export function stateOf(history: History): ChannelState {
  const count = history.head - history.floor
  const { epoch, offset } = floorOf(history)
  return {
    head: headOf(history),
    tail: count === 0 ? undefined : { epoch, offset: offset + 1 },
    count,
    epochs: history.ended,
    ...(history.over ? { ended: true } : {}),
  }
}

/** The error if an append is refused: something in it is new, and the channel has ended or has another head. */
export function refusalOf(
  history: History,
  drafts: readonly Draft[],
  isNew: (draft: Draft) => boolean,
): ChannelEnded | HeadMoved | undefined {
  const ifHead = drafts[0]?.ifHead
  if ((!history.over && ifHead === undefined) || !drafts.some(isNew)) return undefined
  if (history.over) return new ChannelEnded(headOf(history))
  return ifHead === undefined || isAtHead(history, ifHead) ? undefined : new HeadMoved(headOf(history))
}

/** Whether the head is the required one. A position issued before the first event is valid until that is appended. */
function isAtHead(history: History, ifHead: IfHead): boolean {
  const { head, floor, ended } = history
  if (ifHead === 'none') return head === floor && head === (ended.at(-1)?.end ?? 0)
  if (samePosition(ifHead, headOf(history))) return true
  return head === 0 && ifHead.offset === 0 && ended.some(({ epoch }) => epoch === ifHead.epoch)
}

/** The history after acknowledged events may have been lost: `epoch` begins after the last surviving event. */
export function beginEpoch(history: History, epoch: string): History {
  const ended = [...history.ended, { epoch: history.epoch, end: history.head }]
  const forgotten = ended.length > REMEMBERED_EPOCHS ? ended.shift() : undefined
  const { head, floor, over = false } = history
  return { epoch, ended, head, floor: Math.max(floor, forgotten?.end ?? 0), over }
}

/** The history after all of it was erased. */
export function clearedHistory(history: History, epoch: string): History {
  return { ...beginEpoch(history, epoch), floor: history.head, over: false }
}

/** A supply of random bytes: every append passes an epoch name, although few epochs begin. */
const random = new Uint8Array(4096)
let drawn = random.length

/** A random name for an epoch that may begin: 10 characters of `a-z0-9`, more than 48 bits. */
export function randomEpoch(): string {
  let name = ''
  while (name.length < 10) {
    if (drawn === random.length) {
      crypto.getRandomValues(random)
      drawn = 0
    }
    const byte = random[drawn++] ?? 255
    if (byte < 252) name += (byte % 36).toString(36)
  }
  return name
}
