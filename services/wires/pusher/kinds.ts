// The meaning of the prefixes of Pusher's channel names.

export interface Kind {
  /** A subscription needs a signature. */
  readonly signed: boolean
  readonly presence: boolean
  /** A subscription begins with the last event. */
  readonly cache: boolean
  /** Clients may send events to it. */
  readonly clientEvents: boolean
  /** The signed-in user whose channel it is. */
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
