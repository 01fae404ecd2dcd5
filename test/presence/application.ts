// An application that receives the requests of hooks, in its own process. It answers on one port, and fails on each
// other port in a different way.

import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { serve } from '../../bench/load/remote.ts'

const TEN_MB = Buffer.alloc(10 * 2 ** 20, 'x')
const WAYS: readonly (readonly [string, ((response: ServerResponse) => void) | undefined])[] = [
  ['answers', response => response.end('{"result":{}}')],
  ['refuses connections', undefined],
  ['does not answer', () => {}],
  ['answers 500', response => response.writeHead(500).end()],
  ['answers 10 MB', response => response.end(TEN_MB)],
]

/** Returns each way of answering with its port. The first way is a valid answer. */
async function listen(): Promise<[way: string, port: number][]> {
  return await Promise.all(
    WAYS.map(async ([way, answer]): Promise<[string, number]> => {
      const server = createServer((request, response) => {
        request.resume()
        answer?.(response)
      }).listen(0, '127.0.0.1')
      await once(server, 'listening')
      const { port } = server.address() as AddressInfo
      if (answer === undefined) server.close()
      return [way, port]
    }),
  )
}

const methods = { listen }

export type ApplicationMethods = typeof methods

serve(methods)
