// When a token must be replaced, as sent to clients: seconds from now.

import { CLOCK_LEEWAY_MS } from '../../broker/access/tokens.ts'
import { isGranted } from '../../broker/access/grants.ts'
import { channelTokensOf, type Identity, msOf } from '../../broker/access/identity.ts'

export interface Expiry {
  readonly expires?: true
  readonly ttl?: number
}

function expiryAt(endsAt: number | undefined): Expiry {
  if (endsAt === undefined) return {}
  return { expires: true, ttl: Math.max(1, Math.floor((endsAt - CLOCK_LEEWAY_MS - Date.now()) / 1000)) }
}

/** The expiry of a connection. */
export function expiryOf({ connectionEndsAt }: Identity): Expiry {
  return expiryAt(msOf(connectionEndsAt))
}

/** The expiry of a subscription: when the last channel token that grants it ends. */
export function subscriptionExpiryOf(identity: Identity, channel: string): Expiry {
  const granting = channelTokensOf(identity).filter(token => isGranted([token], 'subscribe', channel))
  if (granting.length === 0) return {}
  const end = Math.max(...granting.map(({ channelToken }) => channelToken?.endsAt ?? Infinity))
  return expiryAt(end === Infinity ? undefined : end)
}
