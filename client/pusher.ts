// Lets pusher-js resume without losses after a reconnect to a fanwire node: docs/migrate/pusher.md#nothing-lost.

interface Bindable {
  bind(event: string, listener: (message: { readonly data: string }) => void): unknown
}

/** The part of a pusher-js client that is used. */
export interface PusherLike {
  send_event(name: string, data: unknown, channel?: string): boolean
  readonly connection: unknown
}

/** Resubscribes after the last event of each channel. Trimmed events are reported by an event `fanwire:gap`. */
export function resume<P extends PusherLike>(pusher: P): P {
  const cursors = new Map<string, string>()
  const send = pusher.send_event.bind(pusher)
  pusher.send_event = (name, data, channel) => {
    const { channel: about = '' } = data as { channel?: string }
    if (name === 'pusher:unsubscribe') cursors.delete(about)
    const asks = name === 'pusher:subscribe' ? { cursor: cursors.get(about) ?? '' } : {}
    return send(name, typeof data === 'object' ? { ...data, ...asks } : data, channel)
  }
  const manager = pusher.connection as Bindable & {
    readonly state: string
    readonly connection: { readonly transport: Bindable } | null
  }
  const listen = () =>
    manager.connection?.transport.bind('message', ({ data }) => {
      const { channel, cursor } = JSON.parse(data) as { channel?: string; cursor?: string }
      if (channel !== undefined && cursor !== undefined) cursors.set(channel, cursor)
    })
  manager.bind('connected', listen)
  if (manager.state === 'connected') listen()
  return pusher
}
