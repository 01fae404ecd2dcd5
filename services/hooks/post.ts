// POSTs JSON to an application: over persistent connections, to permitted addresses, with a bounded response.

import type { Agent, request } from 'undici'
import { type Addresses } from './addresses.ts'

/** Bytes of an unwanted response that are read and discarded. */
const MOST_DUMPED_BYTES = 256 * 1024
const CONNECTIONS = 16
/** The reason if the response does not arrive in time. */
export const LATE = 'no answer in time'
const NOTHING = Buffer.alloc(0)

export interface Answer {
  readonly status: number
  /** The delay in `Retry-After`, ms. */
  readonly retryAfter: number | undefined
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** Empty if the caller does not want it. */
  readonly body: Buffer
}

export interface Post {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** The time for the whole exchange, ms. */
  readonly timeout: number
  /** The maximum bytes of the response's body; 0 if the caller does not want it. */
  readonly most: number
}

export class Poster {
  readonly #addresses: Addresses
  readonly #connections: number
  #client: Promise<Client> | undefined

  /** `connections` is the maximum number of connections to one application. */
  constructor(addresses: Addresses, connections = CONNECTIONS) {
    this.#addresses = addresses
    this.#connections = connections
  }

  /** POSTs a body. Raises an Error with a short reason if there is no response. */
  async post({ url, headers, body, timeout, most }: Post): Promise<Answer> {
    const target = new URL(url)
    const fault = this.#addresses.faultOf(target)
    if (fault !== undefined) throw new Error(fault)
    const { request, agent } = await this.load()
    const signal = AbortSignal.timeout(timeout)
    try {
      const answer = await request(target, {
        method: 'POST',
        dispatcher: agent,
        headers: { 'content-type': 'application/json', 'user-agent': 'fanwire', ...headers },
        body,
        signal,
      })
      const { statusCode: status, headers: answered } = answer
      const read = most > 0 ? await bytesOf(answer.body, most) : NOTHING
      // Reads the body to its end, so that the connection can be reused, unless it is too large.
      if (most === 0) await answer.body.dump({ limit: MOST_DUMPED_BYTES, signal }).catch(() => {})
      return { status, headers: answered, retryAfter: retryAfterOf(answered['retry-after']), body: read }
    } catch (error) {
      throw new Error(reasonOf(error))
    }
  }

  /** Loads the library, which otherwise happens at the first request. */
  load(): Promise<Client> {
    return (this.#client ??= createClient(this.#addresses, this.#connections))
  }

  async close(): Promise<void> {
    await (await this.#client)?.agent.destroy()
  }
}

interface Client {
  readonly request: typeof request
  readonly agent: Agent
}

/** The library is loaded only by nodes that need it, since that takes a fifth of a node's start, and 6 MB. */
async function createClient({ lookup }: Addresses, connections: number): Promise<Client> {
  const { Agent, request } = await import('undici')
  const agent = new Agent({
    connections,
    connect: { lookup, timeout: 5000 },
    keepAliveTimeout: 10_000,
  })
  return { request, agent }
}

async function bytesOf(body: AsyncIterable<Buffer>, most: number): Promise<Buffer> {
  const pieces: Buffer[] = []
  let bytes = 0
  for await (const piece of body) {
    bytes += piece.length
    // Leaving the loop cuts the connection.
    if (bytes > most) throw new Error(`the answer is larger than ${most / 1024} KiB`)
    pieces.push(piece)
  }
  return Buffer.concat(pieces)
}

/** Parses `Retry-After`: seconds, or a date (RFC 9110 section 10.2.3). */
function retryAfterOf(value: string | string[] | undefined): number | undefined {
  if (typeof value !== 'string') return undefined
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now()
  return Number.isNaN(ms) ? undefined : Math.max(0, ms)
}

/** The reason in an error, without the URL, which may contain a secret. */
function reasonOf(error: unknown): string {
  const { name, code, message } = error as Error & { code?: string }
  if (name === 'TimeoutError') return LATE
  return code === undefined || code === 'EADDRESS' ? message : code
}
