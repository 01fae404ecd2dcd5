// The part of autocannon 9 that the load uses; it has no types.

declare module 'autocannon' {
  import type { EventEmitter } from 'node:events'
  import type { Socket } from 'node:net'

  namespace autocannon {
    interface Request {
      method?: 'GET' | 'POST'
      path?: string
      headers?: Record<string, string>
      body?: string | Buffer
      onResponse?: (
        status: number,
        body: string,
        context: object,
        headers: Readonly<Record<string, string | string[]>>,
      ) => void
    }

    /** One connection, which sends a request and, after its response, the next. */
    interface Client extends EventEmitter {
      setRequests(requests: readonly Request[]): void
      /** Requests per second; above this rate the client pauses until `reqsMadeThisSecond` is reset. */
      rate: number
      rateInterval: NodeJS.Timeout
      reqsMadeThisSecond: number
      paused: boolean
      conn: Socket
      parser: { reinitialize(type: unknown): void; constructor: { RESPONSE: unknown } }
      pipelinedRequests: { clear(): void }
      _connect(): void
      _doRequest(): void
    }

    interface Options {
      url: string
      connections: number
      duration: number
      timeout?: number
      method?: 'GET' | 'POST'
      headers?: Record<string, string>
      body?: string | Buffer
      requests?: readonly Request[]
      setupClient?: (client: Client) => void
    }

    interface Instance extends EventEmitter, PromiseLike<Result> {
      stop(): void
    }

    interface Result {
      errors: number
      timeouts: number
    }
  }

  function autocannon(options: autocannon.Options): autocannon.Instance
  export default autocannon
}
