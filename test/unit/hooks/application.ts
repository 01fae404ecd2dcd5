// An application for hooks: records the requests, and answers each as configured.

import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

export interface Question {
  readonly hook: 'connect' | 'refresh' | 'subscribe' | 'publish'
  readonly client: string
  readonly user: string
  readonly transport: string
  readonly channel?: string
  readonly data?: unknown
  readonly meta?: unknown
  readonly headers: Readonly<Record<string, string>>
}

export interface Asked extends Question {
  readonly text: string
  readonly sent: IncomingHttpHeaders
}

type Answer = object | ((response: ServerResponse) => void)

export interface AskedApplication {
  readonly url: string
  readonly port: number
  /** All requests so far. */
  readonly asked: readonly Asked[]
  /** `{"result":{}}` unless set; a function answers by itself. */
  answer: (question: Asked) => Answer | Promise<Answer>
  of(hook: Question['hook']): Asked[]
}

export async function startApplication(t: Test, port = 0): Promise<AskedApplication> {
  const asked: Asked[] = []
  const server = createServer(async (request, response) => {
    const pieces: Buffer[] = []
    for await (const piece of request) pieces.push(piece)
    const text = Buffer.concat(pieces).toString()
    const question: Asked = { ...JSON.parse(text), text, sent: request.headers }
    asked.push(question)
    const answer = await application.answer(question)
    if (typeof answer === 'function') answer(response)
    else response.setHeader('content-type', 'application/json').end(JSON.stringify(answer))
  }).listen(port, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close().closeAllConnections())
  const address = server.address() as AddressInfo
  const application: AskedApplication = {
    url: `http://127.0.0.1:${address.port}/ask`,
    port: address.port,
    asked,
    answer: () => ({ result: {} }),
    of: hook => asked.filter(question => question.hook === hook),
  }
  return application
}
