// The streaming wires of the bad server.

import type { ServerResponse } from 'node:http'
import type { Socket } from 'socket.io'
import type { WebSocket } from 'ws'
import type { BadLog, Reader } from './bad-log.ts'

/** sse, stream. Chunked, as by a load balancer. */
export function stream(
  log: BadLog,
  wire: 'sse' | 'stream',
  query: URLSearchParams,
  response: ServerResponse,
): void {
  const reader: Reader = {
    at: log.positionOf(query.get('cursor') ?? undefined),
    wake() {
      for (const { id, object } of log.take(reader)) {
        // Writes two chunks that split the event.
        const text = wire === 'sse' ? `data: ${object}\nid: ${id}\n\n` : `${object}\n`
        const cut = text.indexOf('@S') + 9
        response.write(text.slice(0, cut))
        response.write(text.slice(cut))
      }
    },
  }
  const cursor = log.cursorOf(reader.at)
  const open = `{"open":{"cursor":"${cursor}"}}`
  response
    .writeHead(200)
    .write(wire === 'sse' ? `event: fanwire:open\ndata: ${open}\nid: ${cursor}\nretry: 100\n\n` : `${open}\n`)
  log.follow(reader, response)
}

export function ws(log: BadLog, query: URLSearchParams, client: WebSocket): void {
  const reader: Reader = {
    at: log.positionOf(query.get('cursor') ?? undefined),
    wake() {
      for (const { object } of log.take(reader)) client.send(object)
    },
  }
  client.send(`{"open":{"cursor":"${log.cursorOf(reader.at)}"}}`)
  log.follow(reader, client)
}

/** Handles a client's subscription. */
type Subscribe = (
  asked: { channel: string; cursor?: string },
  acknowledge: (answer: { ok: { channel: string; cursor: string } }) => void,
) => void

export function socketIo(log: BadLog, client: Socket): void {
  const subscribe: Subscribe = ({ channel, cursor }, acknowledge) => {
    const reader: Reader = {
      at: log.positionOf(cursor),
      wake() {
        for (const { object } of log.take(reader)) client.emit('message', JSON.parse(object))
      },
    }
    acknowledge({ ok: { channel, cursor: log.cursorOf(reader.at) } })
    log.follow(reader, client.conn)
  }
  client.on('subscribe', subscribe)
}
