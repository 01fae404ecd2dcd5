// A Centrifuge client without the library, in JSON, for messages that the library never sends.

import { once } from 'node:events'
import { WebSocket } from 'ws'
import type { Node } from '../contract/node.ts'
import { until } from './until.ts'

/** The parts of a reply that tests look at. */
export interface RawReply {
  readonly id?: number
  readonly error?: { readonly code: number; readonly message: string }
  readonly [result: string]: unknown
}

/** Returns once the node has answered its first command, `connect`. */
export async function rawClient({ port }: Pick<Node, 'port'>, connect: object = {}) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/connection/websocket`)
  const messages: string[] = []
  socket.on('message', message => void messages.push(String(message)))
  const end = once(socket, 'close').then(([code, reason]) => ({
    code: code as number,
    reason: String(reason),
  }))
  await once(socket, 'open')
  const lines = () => messages.flatMap(message => message.split('\n'))
  const replyTo = (id: number) =>
    lines()
      .map(line => JSON.parse(line) as RawReply)
      .find(reply => reply.id === id)
  /** The reply to a command. */
  const ask = async (command: string): Promise<RawReply> => {
    const { id } = JSON.parse(command) as { id: number }
    socket.send(command)
    await until(`an answer to ${command}`, () => replyTo(id) !== undefined)
    return replyTo(id) as RawReply
  }
  await ask(JSON.stringify({ id: 1, connect }))
  return {
    socket,
    messages,
    /** How the connection was closed. */
    end,
    ask,
    get lines() {
      return lines()
    },
  }
}
