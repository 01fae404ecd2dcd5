// Subscriptions that a client does not request: its token lists them, or its transport can't send requests.

import type { Identity } from '../../broker/access/identity.ts'
import { checkedChannel } from '../../broker/event/names.ts'
import type { Start } from '../../broker/event/position.ts'
import type { Connection } from '../../broker/fanout/connection.ts'
import { FanwireError } from '../../errors.ts'
import type { Context } from '../../http/context.ts'
import { givenFor, openFor, requireReadable } from '../open-for.ts'
import { joinAll, requireRoom } from '../streaming.ts'
import type { Request } from './protocol.ts'
import { place, type Placed, wantedOf } from './recovery.ts'

/** Has the form of a SubscribeResult. */
export interface Followed {
  readonly recoverable: true
  readonly positioned: true
  readonly epoch: string
  readonly offset: number
  readonly recovered?: true
  readonly was_recovering?: true
}

interface Parts {
  readonly connection: Connection
  /** Notifies the client, before any publication. */
  begin(followed: Readonly<Record<string, Followed>>): void
}

export function resultOf({ at, recovered }: Placed, recover: boolean): Followed {
  return {
    recoverable: true,
    positioned: true,
    epoch: at.epoch,
    offset: at.offset,
    ...(recovered ? { recovered } : {}),
    ...(recover ? { was_recovering: true } : {}),
  }
}

/** Channels, and where each begins. */
export interface Subscriptions {
  readonly channels: readonly string[]
  readonly starts: readonly Start[]
  readonly wanted: readonly ReturnType<typeof wantedOf>[]
}

/** Raises FW_TOO_MANY_CHANNELS, FW_BAD_CHANNEL, FW_BAD_COMMAND. */
export function subscriptionsOf(
  { config }: Context,
  names: readonly string[],
  subs: Readonly<Record<string, Request>>,
): Subscriptions {
  if (names.length > config.maxChannels)
    throw new FanwireError(
      'FW_TOO_MANY_CHANNELS',
      `a connection may have at most ${config.maxChannels} channels`,
    )
  const channels = names.map(checkedChannel)
  const wanted = channels.map(name => wantedOf(subs[name] ?? {}))
  return { channels, starts: wanted.map(({ start }) => start), wanted }
}

/** Returns false if the client has disconnected meanwhile. Raises the errors of `openFor`. */
export async function followAll(
  { hub, access }: Context,
  identity: Identity,
  opened: Subscriptions,
  { connection, begin }: Parts,
): Promise<boolean> {
  const { channels, wanted } = opened
  if (channels.length === 0) {
    begin({})
    return true
  }
  return openFor({ hub, access, identity }, opened, async all => {
    const placed = await Promise.all(all.map((channel, i) => place(channel, wanted[i] ?? wantedOf({}))))
    if (connection.ended) return false
    // The rules may have changed since the check.
    requireReadable({ access, identity }, opened)
    const given = givenFor({ access, identity }, opened)
    requireRoom(all, given)
    const results = placed.map((each, i) => [channels[i], resultOf(each, wanted[i]?.recover === true)])
    begin(Object.fromEntries(results))
    joinAll(
      connection,
      all,
      placed.map(({ at }) => at),
      given,
    )
    return true
  })
}
