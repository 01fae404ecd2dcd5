// The meaning of the prefixes of Pusher's channel names.

export interface Kind {
  /** Whether a subscription needs a signature. */
  readonly signed: boolean
  readonly presence: boolean
  /** Whether a subscription begins with the last event. */
  readonly cache: boolean
  /** Whether clients may send events to it. */
  readonly clientEvents: boolean
  /** The signed-in user to whom the channel belongs. */
  readonly user: string | undefined
}

const OF_USER = '#server-to-user-'

export function kindOf(channel: string): Kind {
  const encrypted = channel.startsWith('private-encrypted-')
  const presence = channel.startsWith('presence-')
  const signed = presence || channel.startsWith('private-')
  return {
    signed,
    presence,
    cache: /^(?:private-(?:encrypted-)?|presence-)?cache-/.test(channel),
    clientEvents: signed && !encrypted,
    user: channel.startsWith(OF_USER) ? channel.slice(OF_USER.length) : undefined,
  }
}

/** The channel of a signed-in user. */
export function channelOf(user: string): string {
  return OF_USER + user
}

export function isOfUser(channel: string): boolean {
  return channel.startsWith(OF_USER)
}
