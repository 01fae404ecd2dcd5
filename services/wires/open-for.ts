// The only way to open channels for a client: first checks that it may read them from its starts.

import type { Access } from '../broker/access/access.ts'
import type { Right } from '../broker/access/grants.ts'
import type { Identity } from '../broker/access/identity.ts'
import type { Start } from '../broker/event/position.ts'
import type { Channel } from '../broker/fanout/channel.ts'
import type { Pages } from '../broker/fanout/glance.ts'
import type { Plan } from '../broker/fanout/plan.ts'
import type { ReadGrant } from '../broker/fanout/reader.ts'
import { narrowed, type Selection } from '../broker/fanout/selection.ts'
import type { Hub } from '../broker/fanout/hub.ts'

/** The client that opens channels, and its context. */
export interface Opener {
  readonly access: Access
  readonly hub: Hub
  readonly identity: Identity
}

/** The channels to open, with a start for each, and a selection if not all events are wanted. */
export interface Wanted {
  readonly channels: readonly string[]
  readonly starts: readonly Start[]
  readonly selections?: readonly (Selection | undefined)[]
  /** For each channel, or for none. */
  readonly plans?: readonly (Plan | undefined)[]
}

/** Raises FW_UNAUTHORIZED, FW_FORBIDDEN if the client may not read a channel, or not from that start. */
export function requireReadable(
  { access, identity }: Omit<Opener, 'hub'>,
  { channels, starts }: Wanted,
): void {
  for (const [i, channel] of channels.entries())
    requireReadableFrom(access, identity, channel, starts[i] ?? 'latest')
}

function requireReadableFrom(access: Access, identity: Identity, channel: string, start: Start): void {
  access.require(identity, 'subscribe', channel)
  if (start !== 'latest') access.require(identity, 'history', channel)
}

/** A reader's selection and grant. */
export interface Given {
  /** The client's selection, restricted to the events of its grant. */
  readonly selection: Selection | undefined
  readonly grant: ReadGrant
  readonly plan: Plan | undefined
}

/** Readers of whole channels share these. */
const HISTORY: ReadGrant = { filter: undefined, looksBack: true }
const NO_HISTORY: ReadGrant = { filter: undefined, looksBack: false }

/** The selection and the grant for each channel. */
export function givenFor(
  { access, identity }: Omit<Opener, 'hub'>,
  { channels, starts, selections = [], plans = [] }: Wanted,
): Given[] {
  return channels.map((channel, i) => {
    const looksBack = starts[i] !== 'latest'
    const filter = access.filterOf(identity, channel, looksBack)
    const grant =
      filter === undefined ? (looksBack ? HISTORY : NO_HISTORY) : { filter: filter.key, looksBack }
    return { selection: narrowed(selections[i], filter), grant, plan: plans[i] }
  })
}

/** The selections for a single request. */
export function selectionsFor(opener: Omit<Opener, 'hub'>, wanted: Wanted): (Selection | undefined)[] {
  return givenFor(opener, wanted).map(({ selection }) => selection)
}

/** Opens channels for long-lived readers, while `use` runs and for the readers that it creates. All or nothing. */
export async function openFor<T>(
  opener: Opener,
  wanted: Wanted,
  use: (channels: Channel[]) => Promise<T>,
): Promise<T> {
  requireReadable(opener, wanted)
  return await opener.hub.using(wanted.channels, use)
}

/** Like `openFor`, for requests that only read pages. */
export async function glanceFor<T>(
  opener: Opener,
  wanted: Wanted,
  use: (channels: Pages[]) => Promise<T>,
): Promise<T> {
  requireReadable(opener, wanted)
  return await opener.hub.glancing(wanted.channels, use)
}

/**
 * Opens another channel ahead of its turn. Returns undefined if the client may not read it, which is reported in its
 * turn. The caller releases the channel.
 */
export async function openAheadFor(
  { access, hub, identity }: Opener,
  channel: string,
  start: Start,
): Promise<Channel | undefined> {
  const may = (right: Right) => access.may(identity, right, channel).allowed
  return may('subscribe') && (start === 'latest' || may('history')) ? await hub.open(channel) : undefined
}

/** Opens another channel. The caller releases it. */
export async function openOneFor(
  { access, hub, identity }: Opener,
  channel: string,
  start: Start,
): Promise<Channel> {
  requireReadableFrom(access, identity, channel, start)
  return await hub.open(channel)
}
