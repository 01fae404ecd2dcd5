// Keeps the state of a stream when an event that holds part of it, in its tags or as a record, is erased. Otherwise a
// node that reads the channel later would accept an idempotent producer's retry again, and refuse its next append.

import { type Position, samePosition, type Start } from '../event/position.ts'
import { ChannelEnded, type ChannelLog, HeadMoved } from '../log/log.ts'
import { fold, holdsState, PAGE, RECORD, type StreamState } from './state.ts'

/** The maximum number of retries of an append, since others may write at the same time. */
const ATTEMPTS = 50

/**
 * Retries an append that depends on the channel's state if another append came first. Raises the errors of `attempt`, but
 * HeadMoved and ChannelEnded only after 50 retries.
 */
export async function withPresentState<T>(attempt: () => Promise<T>): Promise<T> {
  for (let left = ATTEMPTS; ; left--) {
    try {
      return await attempt()
    } catch (error) {
      if (left === 0 || !(error instanceof HeadMoved || error instanceof ChannelEnded)) throw error
    }
  }
}

/** Call it before the event is erased. An ended stream needs no state. Raises LogUnavailable. */
export async function keepState(
  log: Pick<ChannelLog, 'read' | 'append'>,
  channel: string,
  event: Position,
): Promise<void> {
  if (!(await isState(log, channel, event))) return
  const read = (after: Start) => log.read(channel, after, PAGE)
  let state: StreamState | undefined
  await withPresentState(async () => {
    state = await fold(state, read)
    if (!state.exists || state.ended) return
    await log.append(channel, [{ data: state.toRecord(), type: RECORD, ifHead: state.at }])
  })
}

async function isState(log: Pick<ChannelLog, 'read'>, channel: string, event: Position): Promise<boolean> {
  const { epoch, offset } = event
  if (offset === 0) return false
  const { events } = await log.read(channel, { epoch, offset: offset - 1 }, { events: 1, bytes: 1 })
  return events.some(each => samePosition(each, event) && holdsState(each))
}
