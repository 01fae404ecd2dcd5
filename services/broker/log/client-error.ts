// The errors that clients receive when the log fails. They omit the log's address and messages, which the node logs.

import { FanwireError } from '../../errors.ts'
import { printPosition } from '../event/position.ts'
import { ChannelEnded, HeadMoved, LogRefused, LogUnavailable } from './log.ts'

/** The coded error for an error that the log raised, or the error itself if it is coded; undefined for any other. */
export function clientErrorOf(error: unknown): FanwireError | undefined {
  if (error instanceof FanwireError) return error
  if (error instanceof LogRefused) {
    const message = "the log refuses this until its operator changes something: see the node's log"
    return new FanwireError('FW_LOG_REFUSED', message, { cause: error })
  }
  if (error instanceof LogUnavailable) {
    const message = 'the log cannot be reached, or cannot say that it holds the event: try again'
    return new FanwireError('FW_LOG_UNAVAILABLE', message, { cause: error })
  }
  if (error instanceof HeadMoved || error instanceof ChannelEnded) {
    const code = error instanceof HeadMoved ? 'FW_HEAD_MOVED' : 'FW_CHANNEL_ENDED'
    return new FanwireError(code, error.message, { cause: error, head: printPosition(error.head) })
  }
  return undefined
}
