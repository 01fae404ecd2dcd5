// A reader of `/v1/ws`.

import { WebSocket } from 'ws'
import { ObjectReader } from './objects.ts'
import { Refused, SILENCE } from './reader.ts'

export class WsReader extends ObjectReader {
  protected override async session(): Promise<undefined> {
    const { signal } = this
    const url = `ws://127.0.0.1:${this.port}/v1/ws?${this.query()}`
    const socket = new WebSocket(url, { perMessageDeflate: false, handshakeTimeout: SILENCE })
    let silence: NodeJS.Timeout | undefined
    let wrong: unknown
    const alive = () => {
      clearTimeout(silence)
      silence = setTimeout(() => socket.terminate(), SILENCE)
    }
    const end = () => socket.terminate()
    signal.addEventListener('abort', end, { once: true })
    socket.on('ping', alive)
    socket.on('message', data => {
      alive()
      if (wrong !== undefined) return
      try {
        this.object(data.toString())
      } catch (error) {
        wrong = error
        socket.terminate()
      }
    })
    socket.on('error', error => {
      const status = /Unexpected server response: (\d+)/.exec(error.message)?.[1]
      if (status !== undefined) wrong = new Refused(Number(status))
    })
    alive()
    const code = await new Promise<number>(resolve => socket.once('close', resolve))
    clearTimeout(silence)
    signal.removeEventListener('abort', end)
    if (wrong !== undefined) throw wrong
    if (code === 1008 || code === 1009 || code >= 4500) throw new SyntaxError(`it was closed with ${code}`)
  }
}
