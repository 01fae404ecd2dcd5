// A client's identity in presence channels, and their other members.

import { checkedUser } from './checks.ts'
import type { Context } from '../../http/context.ts'
import type { ChannelWatcher } from '../../broker/fanout/connection.ts'
import { whoOf } from '../../broker/presence/attendance.ts'
import type { Presence } from '../../broker/presence/presence.ts'
import { type Position } from '../../broker/event/position.ts'
import { FanwireError } from '../../errors.ts'
import type { Member } from './framing.ts'

/** The maximum number of users of a presence channel that a client receives. */
const MOST_MEMBERS = 1000
/** The maximum bytes of a client's info. */
const MOST_INFO_BYTES = 2048

/** A client's info about itself. */
export interface Self {
  readonly id: string | number
  readonly info: unknown
}

export class Members implements ChannelWatcher {
  readonly #presence: Presence
  /** The client's info by channel; undefined if it is only counted. */
  readonly #entered = new Map<string, Self | undefined>()

  constructor(presence: Presence) {
    this.#presence = presence
  }

  /** The client's identity in a channel. */
  in(channel: string): Self | undefined {
    return this.#entered.get(channel)
  }

  has(channel: string): boolean {
    return this.#entered.has(channel)
  }

  /** Returns when all nodes can see the member. */
  async enter(channel: string, self: Self): Promise<void> {
    if (!this.#presence.enter(channel, String(self.id), printed(self))) return
    this.#entered.set(channel, self)
    await this.#presence.settled(channel)
  }

  joined(channel: string): void {
    if (this.#entered.has(channel)) return
    if (this.#presence.enter(channel, '', whoOf('', undefined))) this.#entered.set(channel, undefined)
  }

  left(channel: string): void {
    if (!this.#entered.has(channel)) return
    const self = this.#entered.get(channel)
    this.#entered.delete(channel)
    this.#presence.leave(channel, self === undefined ? '' : String(self.id))
  }

  /** Called when the client is gone. */
  close(): void {
    for (const channel of [...this.#entered.keys()]) this.left(channel)
  }
}

/** A numeric id is preserved. */
function printed({ id, info }: Self): string {
  const who = whoOf(String(id), info)
  return typeof id === 'number' ? `${who},"user_id":${id}` : who
}

/** A client's info about itself, as JSON. Raises FW_BAD_COMMAND, FW_TOO_LARGE. */
export function selfOf(channelData: string): Self {
  if (Buffer.byteLength(channelData) > MOST_INFO_BYTES)
    throw new FanwireError('FW_TOO_LARGE', `channel_data may have at most ${MOST_INFO_BYTES} bytes`)
  const { user_id: id, user_info: info } = parsed('channel_data', channelData)
  return { id: checkedUser('user_id', id), info }
}

/** The user who signs in. Raises FW_BAD_COMMAND. */
export function signedInOf(userData: string): Self {
  const { id, ...info } = parsed('user_data', userData)
  return { id: checkedUser('id', id), info: info.user_info }
}

/**
 * `userData`, in which the id is a string: pusher-js does not subscribe to the channel of a user whose id is a number.
 * Raises FW_BAD_COMMAND.
 */
export function withTextId(userData: string): string {
  const { id, ...others } = parsed('user_data', userData)
  return typeof id === 'string' ? userData : JSON.stringify({ id: String(id), ...others })
}

function parsed(name: string, text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
  } catch {
    // Raised below.
  }
  throw new FanwireError('FW_BAD_COMMAND', `${name} must be a JSON object`)
}

export interface MemberList {
  /** By id. */
  readonly members: readonly Member[]
  readonly users: number
  /** The position of the log of joins and leaves. */
  readonly cursor: Position
}

/** Raises LogUnavailable. */
export async function membersOf(
  { presence }: Pick<Context, 'presence'>,
  channel: string,
  most = MOST_MEMBERS,
): Promise<MemberList> {
  const { members, users, cursor } = await presence.page(channel, '', most)
  return { members: members.map(each => JSON.parse(each) as Member), users, cursor }
}

/** The list with which a subscription to a presence channel begins. Raises FW_TOO_MANY_MEMBERS. */
export function presenceData({ members, users }: MemberList): string {
  if (users > members.length)
    throw new FanwireError(
      'FW_TOO_MANY_MEMBERS',
      `a client of Pusher receives ${MOST_MEMBERS} members at most, and the channel has ${users}`,
    )
  const ids = members.map(({ user, user_id: id = user }) => id)
  const hash = Object.fromEntries(members.map(({ user, info }) => [user, info ?? null]))
  return JSON.stringify({ presence: { count: members.length, ids, hash } })
}
