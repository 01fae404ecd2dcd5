// A reader of `/connection/websocket`: centrifuge-js, which reconnects and recovers by itself.

import { once } from 'node:events'
import { Centrifuge, type PublicationContext, type SubscribedContext } from 'centrifuge'
import { WebSocket } from 'ws'
import { printPosition } from '../../../services/broker/event/position.ts'
import { RECONNECT_MS, LONGEST_RETRY, Reader } from './reader.ts'

export class CentrifugeReader extends Reader {
  protected override async run(): Promise<void> {
    const { port, signal } = this
    const client = new Centrifuge(`ws://127.0.0.1:${port}/connection/websocket`, {
      websocket: WebSocket,
      minReconnectDelay: RECONNECT_MS,
      maxReconnectDelay: LONGEST_RETRY,
    })
    client.on('connecting', () => this.ends++)
    client.on('disconnected', ({ code, reason }) => {
      if (!signal.aborted) this.failed(new SyntaxError(`it was disconnected with ${code} ${reason}`))
    })
    for (const channel of this.options.channels) this.#follow(client, channel)
    client.connect()
    await once(signal, 'abort')
    client.disconnect()
  }

  protected override session(): Promise<undefined> {
    throw new Error('the library opens the connections')
  }

  #follow(client: Centrifuge, channel: string): void {
    let epoch = ''
    /** The offset of the last event, or the one where the reader began. */
    let at = 0
    const subscription = client.newSubscription(channel, {
      positioned: true,
      recoverable: true,
      minResubscribeDelay: RECONNECT_MS,
      maxResubscribeDelay: LONGEST_RETRY,
    })
    const guarded = <T>(take: (context: T) => void) => {
      return (context: T) => {
        try {
          take(context)
        } catch (error) {
          this.failed(error)
        }
      }
    }
    const subscribed = ({ streamPosition, wasRecovering, recovered }: SubscribedContext) => {
      // Recovered events follow, each with its position.
      if (streamPosition === undefined || (wasRecovering && recovered)) return
      const to = printPosition({ epoch: streamPosition.epoch, offset: streamPosition.offset })
      if (wasRecovering) this.gap({ channel, from: printPosition({ epoch, offset: at }), to })
      else this.startsAt(channel, to)
      epoch = streamPosition.epoch
      at = streamPosition.offset
    }
    const took = ({ offset = 0, data }: PublicationContext) => {
      at = offset
      this.event({ channel, id: printPosition({ epoch, offset }), data: data as { n: number } })
    }
    subscription.on('subscribed', guarded(subscribed))
    subscription.on('publication', guarded(took))
    subscription.subscribe()
  }
}
