// An application for webhooks: records the requests, and answers as configured.

import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

export interface Message {
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

export interface Receiver {
  readonly url: string
  /** All requests, including rejected ones. */
  readonly messages: readonly Message[]
  /** Accepted events, as `type channel user`. */
  readonly taken: readonly string[]
  /** 200 unless set. */
  answer: (response: ServerResponse, message: Message) => void
}

export interface Told {
  readonly type: string
  readonly id: string
  readonly data: { readonly channel?: string; readonly user?: string }
}

export const eventsOf = ({ body }: Message): Told[] => JSON.parse(body).events

export async function startReceiver(t: Test): Promise<Receiver> {
  const messages: Message[] = []
  const taken: string[] = []
  const server = createServer(async (request, response) => {
    const pieces: Buffer[] = []
    for await (const piece of request) pieces.push(piece)
    const message = { headers: request.headers, body: Buffer.concat(pieces).toString() }
    messages.push(message)
    receiver.answer(response, message)
    if (response.statusCode !== 200 || !response.writableEnded) return
    for (const { type, data } of eventsOf(message))
      taken.push([type, data.channel, data.user].filter(Boolean).join(' '))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close().closeAllConnections())
  const { port } = server.address() as AddressInfo
  const receiver: Receiver = {
    url: `http://127.0.0.1:${port}/hooks`,
    messages,
    taken,
    answer: response => response.end(),
  }
  return receiver
}
