// Hooks for React 18 and later: docs/client.md#react.

import {
  type Context,
  createContext,
  createElement,
  useContext,
  useEffect,
  useState,
  useSyncExternalStore,
} from 'react'
import type { Fanwire } from './fanwire.ts'
import { type ChannelOptions, follow, type Followed } from './followed.ts'
import type { Member } from './presence.ts'
import type { State } from './states.ts'

export type { ChannelOptions, Followed } from './followed.ts'

const FanwireContext: Context<Fanwire | undefined> = createContext<Fanwire | undefined>(undefined)

/** `<FanwireProvider client={connect('https://…')}>`: its children use this client. */
export function FanwireProvider({ client, children }: { client: Fanwire; children?: unknown }): never {
  // React's types would call this an element.
  return createElement(FanwireContext.Provider, { value: client }, children) as never
}

/** The client of the nearest provider. */
export function useFanwire(): Fanwire {
  const client = useContext(FanwireContext)
  if (client === undefined) throw new Error('there is no <FanwireProvider> around this')
  return client
}

/** The newest events of a channel, its gaps, and its state. */
export function useChannel<Data = unknown>(channel: string, options: ChannelOptions = {}): Followed<Data> {
  const client = useFanwire()
  const [followed, set] = useState<Followed<Data>>(() => ({ events: [], gaps: [], state: client.state }))
  useEffect(() => {
    set({ events: [], gaps: [], state: client.state })
    return follow<Data>(client, channel, options, set)
    // Options are a new object at each render, but mostly equal.
  }, [client, channel, JSON.stringify(options)])
  return followed
}

/** The members of a channel. */
export function usePresence(channel: string): readonly Member[] {
  const client = useFanwire()
  const [members, set] = useState<readonly Member[]>([])
  useEffect(() => {
    const presence = client.presence(channel)
    const read = () => set(presence.members)
    for (const name of ['sync', 'join', 'leave', 'update'] as const) presence.on(name, read)
    return () => presence.close()
  }, [client, channel])
  return members
}

/** The state of the connection. */
export function useConnection(): State {
  const client = useFanwire()
  const read = () => client.state
  return useSyncExternalStore(changed => client.on('state', changed), read, read)
}
