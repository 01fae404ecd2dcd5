// Composables for Vue 3: docs/client.md#vue.

import {
  type App,
  inject,
  type InjectionKey,
  type MaybeRefOrGetter,
  onScopeDispose,
  type ShallowRef,
  shallowRef,
  toValue,
  watchEffect,
} from 'vue'
import type { Fanwire } from './fanwire.ts'
import { type ChannelOptions, follow, type Followed } from './followed.ts'
import type { Member } from './presence.ts'
import type { State } from './states.ts'

export type { ChannelOptions, Followed } from './followed.ts'

const KEY: InjectionKey<Fanwire> = Symbol('fanwire')

/** `app.use(fanwirePlugin, connect('https://…'))`. */
export const fanwirePlugin = {
  install(app: App, client: Fanwire): void {
    app.provide(KEY, client)
  },
}

/** The client of the app. */
export function useFanwire(): Fanwire {
  const client = inject(KEY, undefined)
  if (client === undefined) throw new Error('the app does not use fanwirePlugin')
  return client
}

/** The newest events of a channel, its gaps, and its state. */
export function useChannel<Data = unknown>(
  channel: MaybeRefOrGetter<string>,
  options: MaybeRefOrGetter<ChannelOptions> = {},
): Readonly<ShallowRef<Followed<Data>>> {
  const client = useFanwire()
  const empty = (): Followed<Data> => ({ events: [], gaps: [], state: client.state })
  const followed = shallowRef(empty())
  watchEffect(cleanUp => {
    followed.value = empty()
    cleanUp(follow<Data>(client, toValue(channel), toValue(options), next => (followed.value = next)))
  })
  return followed
}

/** The members of a channel. */
export function usePresence(channel: MaybeRefOrGetter<string>): Readonly<ShallowRef<readonly Member[]>> {
  const client = useFanwire()
  const members = shallowRef<readonly Member[]>([])
  watchEffect(cleanUp => {
    const presence = client.presence(toValue(channel))
    const read = () => (members.value = presence.members)
    for (const name of ['sync', 'join', 'leave', 'update'] as const) presence.on(name, read)
    cleanUp(() => presence.close())
  })
  return members
}

/** The state of the connection. */
export function useConnection(): Readonly<ShallowRef<State>> {
  const client = useFanwire()
  const state = shallowRef(client.state)
  onScopeDispose(client.on('state', next => (state.value = next)))
  return state
}
