// A reader of `/socket.io/`: the library's own client, used as docs/wires/socket-io.md says. It reconnects by itself.

import { once } from 'node:events'
import { io, type Socket } from 'socket.io-client'
import { fromAddress } from '../../contract/clients.ts'
import { RECONNECT_MS, LONGEST_RETRY, Reader } from './reader.ts'

/** The acknowledgement of a subscription. */
interface Answer {
  readonly ok?: { readonly channel: string; readonly cursor: string }
  readonly error?: { readonly code: string; readonly message: string }
}

/** Retryable codes. */
const RETRYABLE = new Set(['FW_NOT_READY', 'FW_DRAINING', 'FW_LOG_UNAVAILABLE'])

export class SocketIoReader extends Reader {
  protected readonly transports: readonly ('polling' | 'websocket')[] = ['websocket']

  protected override async run(): Promise<void> {
    const { port, signal } = this
    const { number } = this.options
    const socket = io(`http://127.0.0.1:${port}`, {
      forceNew: true,
      transports: [...this.transports],
      ...fromAddress(number),
      reconnectionDelay: RECONNECT_MS,
      reconnectionDelayMax: LONGEST_RETRY,
    })
    socket.on('connect', () => {
      for (const channel of this.options.channels) this.#subscribe(socket, channel)
    })
    socket.on('disconnect', () => this.#ended(socket))
    socket.on('connect_error', () => this.#ended(socket))
    socket.onAny((name: string, object) => {
      try {
        if (name === 'gap') this.gap(object)
        else if (name === 'error') throw new SyntaxError(`it received ${JSON.stringify(object)}`)
        else if (name !== 'close') this.event(object)
      } catch (error) {
        this.failed(error)
      }
    })
    await once(signal, 'abort')
    socket.disconnect()
  }

  /** Not used: the library's manager opens and reopens the connections. */
  protected override session(): Promise<undefined> {
    throw new Error('the library opens the connections')
  }

  #subscribe(socket: Socket, channel: string): void {
    const { id } = socket
    socket.emit('subscribe', { channel, cursor: this.cursorOf(channel) }, ({ ok, error }: Answer) => {
      if (ok !== undefined) this.startsAt(channel, ok.cursor)
      else if (!RETRYABLE.has(error?.code ?? ''))
        this.failed(new SyntaxError(`${error?.code} ${error?.message}`))
      else {
        setTimeout(() => {
          // A newer connection subscribes for itself.
          if (socket.connected && socket.id === id) this.#subscribe(socket, channel)
        }, RECONNECT_MS)
      }
    })
  }

  #ended(socket: Socket): void {
    this.ends++
    if (!socket.active && !this.signal.aborted) this.failed(new SyntaxError('the client will not reconnect'))
  }
}

/** Starts with polling, and upgrades to WebSocket. */
export class UpgradingReader extends SocketIoReader {
  protected override readonly transports = ['polling', 'websocket'] as const
}

/** Uses polling only. */
export class PollingReader extends SocketIoReader {
  protected override readonly transports = ['polling'] as const
}
