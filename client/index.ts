// The client of fanwire, for browsers, Node, Deno, Bun and workers: docs/client.md.

export { FanwireError, Unauthorized } from './errors.ts'
export { connect, type Fanwire, type FanwireEvents } from './fanwire.ts'
export type { Member, Presence, PresenceEvents } from './presence.ts'
export type { State, StateName } from './states.ts'
export type { Subscription, SubscriptionEvents, SubscriptionState } from './subscription.ts'
export type {
  End,
  Event,
  Gap,
  Options,
  PublishOptions,
  ReadOptions,
  Receipt,
  Store,
  SubscribeOptions,
  Timing,
  WebSocketLike,
  Wire,
} from './types.ts'
