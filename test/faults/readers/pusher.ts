// A reader of `/app/{key}`: pusher-js with the plugin of docs/migrate/pusher.md, which resumes after its last event.

import { once } from 'node:events'
import pusherJs from 'pusher-js'
import { resume } from '../../../client/pusher.ts'
import { Reader } from './reader.ts'

/** The module is the class itself, but its types do not declare that. */
const PusherJs = pusherJs as unknown as typeof pusherJs.default

/** The app of the fault suite's nodes. */
export const FAULTS_APP = { id: 'faults', key: 'faults', secret: 'faults-secret' }

/** The library's transport. The reader binds to it because the library drops a message's cursor. */
interface Transport {
  bind(event: 'message', listener: (message: { readonly data: string }) => void): unknown
}

interface Message {
  readonly event: string
  readonly channel?: string
  /** JSON as a string. */
  readonly data?: string
  readonly cursor?: string
}

/** The data of a message that reports a gap. */
interface GapData {
  readonly from: string
  readonly to: string
}

export class PusherReader extends Reader {
  protected override async run(): Promise<void> {
    const { port, signal } = this
    const client = resume(
      new PusherJs(FAULTS_APP.key, {
        cluster: '',
        wsHost: '127.0.0.1',
        wsPort: port,
        forceTLS: false,
        enabledTransports: ['ws'],
      }),
    )
    client.connection.bind('state_change', ({ current }: { current: string }) => {
      if (current === 'connecting' || current === 'unavailable') this.ends++
      if (current === 'failed' && !signal.aborted)
        this.failed(new SyntaxError('the client will not reconnect'))
    })
    const manager = client.connection as unknown as { readonly connection: { readonly transport: Transport } }
    client.connection.bind('connected', () => {
      manager.connection.transport.bind('message', ({ data }) => {
        try {
          this.#take(JSON.parse(data) as Message)
        } catch (error) {
          this.failed(error)
        }
      })
    })
    for (const channel of this.options.channels) client.subscribe(channel)
    await once(signal, 'abort')
    client.disconnect()
  }

  protected override session(): Promise<undefined> {
    throw new Error('the library opens the connections')
  }

  #take({ event, channel, data: json = 'null', cursor = '' }: Message): void {
    if (channel === undefined) return
    const data: unknown = JSON.parse(json)
    if (event === 'pusher_internal:subscription_succeeded') {
      if (!this.hasPosition(channel)) this.startsAt(channel, cursor)
    } else if (event === 'fanwire:gap') this.gap({ channel, ...(data as GapData) })
    else if (!/^pusher(_internal)?:/.test(event))
      this.event({ channel, id: cursor, data: data as { n: number } })
  }
}
