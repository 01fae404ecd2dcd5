// When a token must be replaced, as sent to clients: seconds from now.

import { CLOCK_LEEWAY_MS } from '../../broker/access/tokens.ts'
import { type Identity, msOf } from '../../broker/access/identity.ts'

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

/** The expiry of a subscription, by the channel token that grants it. */
export function subscriptionExpiryOf({ grants }: Identity, channel: string): Expiry {
  const granted = grants.find(
    ({ channelToken, list }) => channelToken && list.some(({ channels }) => channels.includes(channel)),
  )
  return expiryAt(granted?.channelToken?.endsAt)
}
