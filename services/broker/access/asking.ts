// The application's decisions for rules with `hook`, and the effects of its responses. A service sends the requests. The
// broker only knows the interface.

import { FanwireError } from '../../errors.ts'
import type { Hook } from '../rules/rules.ts'
import type { Grants, Right } from './grants.ts'
import { type Identity, withChannelTokens } from './identity.ts'
import type { Decision } from './may.ts'

/** What the application learns about a client. */
export interface Asker {
  /** The id of its connection. */
  readonly client: string
  readonly transport: string
  /** The request headers that hooks name. */
  readonly headers: Readonly<Record<string, string>>
}

/** Each raises FW_FORBIDDEN or `Disconnected` if the application refuses, FW_HOOK_FAILED if it does not answer. */
export interface Asking {
  readonly connects: boolean
  readonly refreshes: boolean
  /** The names of the headers that hooks receive. */
  readonly headers: ReadonlySet<string>
  /** The identity of a client that sent no credentials. */
  connect(asker: Asker): Promise<Identity>
  /** Extends a client's identity. */
  refresh(identity: Identity, asker: Asker): Promise<Identity>
  /** The grants on a channel. */
  subscribe(hook: Hook, identity: Identity, channel: string, asker: Asker): Promise<Grants>
  /** The data to publish instead; undefined for the original data. */
  publish(
    hook: Hook,
    identity: Identity,
    channel: string,
    data: Buffer | undefined,
    asker: Asker,
  ): Promise<Buffer | undefined>
}

const RETRY_MS = 1000

/** The application closes the client's connection. A request without a connection is refused. */
export class Disconnected extends FanwireError {
  readonly close: { readonly code: number; readonly reason: string; readonly retry: number | undefined }

  constructor(code: number, reason: string) {
    super('FW_FORBIDDEN', reason, { application: code })
    this.close = { code, reason, retry: code < 4500 ? RETRY_MS : undefined }
  }
}

/** A client about which only the wire is known. */
export function bareAsker(client: string, transport: string): Asker {
  return { client, transport, headers: {} }
}

interface Judge {
  readonly asking: Asking | undefined
  may(identity: Identity, right: Right, channel: string): Decision
}

export type Wish = readonly [right: Right, channel: string]

/** The hooks that still have to decide about the wishes, by channel. Empty if a right is refused without them. */
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

/** The identity with the application's grants, all or none. Raises the errors of `Asking.subscribe`. */
export async function withWishes(
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

/** The rights needed to read channels from their readers' starts. */
export function* readWishes(channels: readonly string[], starts: readonly unknown[]): Generator<Wish> {
  for (const [i, channel] of channels.entries()) {
    yield ['subscribe', channel]
    if (starts[i] !== undefined && starts[i] !== 'latest') yield ['history', channel]
  }
}
