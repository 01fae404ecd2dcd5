// A client that stays connected, counted towards the limits of its address, user and key.

import type { Connection } from '../broker/fanout/connection.ts'
import type { Lease } from '../broker/limits/holds.ts'
import type { Party } from '../broker/limits/limited.ts'
import { FanwireError } from '../errors.ts'
import type { Context } from '../http/context.ts'

/** Try again later: the IANA registry of RFC 6455 section 11.7. */
export const TRY_AGAIN_LATER = 1013

/**
 * Counts it. Several may have been asked in at a time: ends one for which there is no room any more. Undefined where
 * nothing is limited, too.
 */
export function admit(
  { limits }: Context,
  connection: Connection,
  party: Party,
  subscriptions = 0,
): Lease | undefined {
  try {
    return limits.holds.take(party, subscriptions)
  } catch (error) {
    if (!(error instanceof FanwireError)) throw error
    connection.end({ code: TRY_AGAIN_LATER, reason: error.message, retry: error.retry ?? 0 })
    return undefined
  }
}
