// The states of a connection, as a table: docs/client.md shows the same one.

import type { Wire } from './types.ts'

export type State =
  | { readonly name: 'idle' | 'connecting' | 'offline' }
  | { readonly name: 'connected'; readonly wire: Wire }
  | { readonly name: 'waiting'; readonly until: number; readonly why: string }
  | { readonly name: 'unauthorized' | 'closed'; readonly why: string }

export type StateName = State['name']

/** The inputs of the state machine. */
export type Happening =
  | 'want' // there is something to read
  | 'unwanted' // there is nothing to read any more
  | 'opened' // a wire delivers
  | 'failed' // no wire works, or the current one broke
  | 'unauthorized' // there is no token, or `getToken` threw Unauthorized
  | 'refused' // the node does not want this client to reconnect
  | 'due' // the wait is over
  | 'retry' // reconnect() was called, or the page is shown again
  | 'offline' // the system has no network
  | 'online' // the system has a network again
  | 'close' // close() was called

type Row = Partial<Record<Happening, StateName>>

const ANYWHERE: Row = { close: 'closed', offline: 'offline' }
const TRYING: Row = {
  ...ANYWHERE,
  opened: 'connected',
  failed: 'waiting',
  unauthorized: 'unauthorized',
  refused: 'closed',
  unwanted: 'idle',
}

/** Combinations that are not listed do not change the state. */
export const STATES: Readonly<Record<StateName, Row>> = {
  idle: { ...ANYWHERE, want: 'connecting' },
  connecting: TRYING,
  connected: TRYING,
  waiting: { ...ANYWHERE, due: 'connecting', retry: 'connecting', unwanted: 'idle' },
  offline: { close: 'closed', online: 'connecting' },
  unauthorized: { close: 'closed', retry: 'connecting' },
  closed: {},
}
