// What the application is asked where rules say `hook`, and what its answers change. A service asks it; the broker only knows
// what for.

import { FanwireError } from '../../errors.ts'
import type { Hook } from '../rules/rules.ts'
import type { Grants, Right } from './grants.ts'
import { type Identity, withChannelTokens } from './identity.ts'
import type { Decision } from './may.ts'

/** What the application is shown of a client. */
export interface Asker {
  /** The id of its connection. */
  readonly client: string
  readonly transport: string
  /** Those that hooks name. */
  readonly headers: Readonly<Record<string, string>>
}

/** Each raises FW_FORBIDDEN where the application refuses, `Disconnected`, FW_HOOK_FAILED where it gives no answer. */
export interface Asking {
  readonly connects: boolean
  readonly refreshes: boolean
  /** Names of headers that some hook is shown. */
  readonly headers: ReadonlySet<string>
  /** Who a client is that came with nothing. */
  connect(asker: Asker): Promise<Identity>
  /** The same client for longer. */
  refresh(identity: Identity, asker: Asker): Promise<Identity>
  /** What is granted of a channel. */
  subscribe(hook: Hook, identity: Identity, channel: string, asker: Asker): Promise<Grants>
  /** What is published in place of the data; undefined: the data. */
  publish(
    hook: Hook,
    identity: Identity,
    channel: string,
    data: Buffer | undefined,
    asker: Asker,
  ): Promise<Buffer | undefined>
}

const RETRY_MS = 1000

/** The application wants the client's connection closed. Where there is none, it is a refusal. */
export class Disconnected extends FanwireError {
  readonly close: { readonly code: number; readonly reason: string; readonly retry: number | undefined }

  constructor(code: number, reason: string) {
    super('FW_FORBIDDEN', reason, { application: code })
    this.close = { code, reason, retry: code < 4500 ? RETRY_MS : undefined }
  }
}

/** A client of which nothing is known but its wire. */
export function bareAsker(client: string, transport: string): Asker {
  return { client, transport, headers: {} }
}

interface Judge {
  readonly asking: Asking | undefined
  may(identity: Identity, right: Right, channel: string): Decision
}

export type Wish = readonly [right: Right, channel: string]

/**
 * The application's decisions that are missing for all of the wishes, by channel. None where something is refused
 * without asking.
 */
export function missing(judge: Judge, identity: Identity, wishes: Iterable<Wish>): ReadonlyMap<string, Hook> {
  const open = new Map<string, Hook>()
  for (const [right, wanted] of wishes) {
    const { allowed, hook, channel = wanted } = judge.may(identity, right, wanted)
    if (allowed) continue
    if (hook === undefined) return new Map()
    open.set(channel, hook)
  }
  return open
}

/** The identity with what the application grants it, all or nothing. Raises what `Asking.subscribe` does. */
export async function askedFor(
  judge: Judge,
  identity: Identity,
  wishes: Iterable<Wish>,
  asker: () => Asker,
): Promise<Identity> {
  return withChannelTokens(identity, await answersFor(judge, identity, wishes, asker))
}

export async function answersFor(
  judge: Judge,
  identity: Identity,
  wishes: Iterable<Wish>,
  asker: () => Asker,
): Promise<Grants[]> {
  const { asking } = judge
  if (asking === undefined) return []
  const open = missing(judge, identity, wishes)
  return Promise.all([...open].map(([channel, hook]) => asking.subscribe(hook, identity, channel, asker())))
}

/** What is asked for to read channels from where their readers begin. */
export function* readWishes(channels: readonly string[], starts: readonly unknown[]): Generator<Wish> {
  for (const [i, channel] of channels.entries()) {
    yield ['subscribe', channel]
    if (starts[i] !== undefined && starts[i] !== 'latest') yield ['history', channel]
  }
}
