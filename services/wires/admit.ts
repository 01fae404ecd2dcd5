// Counts a long-lived client towards the limits of its address, user and key.

import type { Connection } from '../broker/fanout/connection.ts'
import type { Lease } from '../broker/limits/holds.ts'
import type { Party } from '../broker/limits/limited.ts'
import { FanwireError } from '../errors.ts'
import type { Context } from '../http/context.ts'

/** Try again later: the IANA registry of RFC 6455 section 11.7. */
export const TRY_AGAIN_LATER = 1013

/**
 * Counts a client, and ends it if there is no room any more, since several may be admitted at the same time. Returns
 * undefined then, and if nothing is limited.
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
