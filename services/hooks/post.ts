// POSTs JSON to an application: over connections that are kept, to addresses that may be asked, with a bounded answer.

import type { Agent, request } from 'undici'
import { type Addresses } from './addresses.ts'

/** Bytes of an answer that is read. */
const MOST = 256 * 1024
const CONNECTIONS = 16

export interface Answer {
  readonly status: number
  /** Of `Retry-After`, ms. */
  readonly retryAfter: number | undefined
  /** Empty where it was not asked for. */
  readonly body: string
}

export interface Post {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** Ms for all of it. */
  readonly timeout: number
  /** The body of the answer is wanted. */
  readonly reads: boolean
}

export class Poster {
  readonly #addresses: Addresses
  #client: Promise<Client> | undefined

  constructor(addresses: Addresses) {
    this.#addresses = addresses
  }

  /** Raises an Error that says in a word or two why there is no answer. */
  async post({ url, headers, body, timeout, reads }: Post): Promise<Answer> {
    const target = new URL(url)
    const fault = this.#addresses.faultOf(target)
    if (fault !== undefined) throw new Error(fault)
    const signal = AbortSignal.timeout(timeout)
    try {
      const { request, agent } = await (this.#client ??= createClient(this.#addresses))
      const answer = await request(target, {
        method: 'POST',
        dispatcher: agent,
        headers: { 'content-type': 'application/json', 'user-agent': 'fanwire', ...headers },
        body,
        signal,
      })
      const { statusCode: status, headers: answered } = answer
      const text = reads ? await textOf(answer.body) : ''
      // Read to its end, so that the connection can be used again; cut where that would be too much.
      if (!reads) await answer.body.dump({ limit: MOST, signal }).catch(() => {})
      return { status, retryAfter: retryAfterOf(answered['retry-after']), body: text }
    } catch (error) {
      throw new Error(reasonOf(error))
    }
  }

  async close(): Promise<void> {
    await (await this.#client)?.agent.destroy()
  }
}

interface Client {
  readonly request: typeof request
  readonly agent: Agent
}

/** The library is loaded when the first request is made: it takes a fifth of a node's start. */
async function createClient({ lookup }: Addresses): Promise<Client> {
  const { Agent, request } = await import('undici')
  const agent = new Agent({
    connections: CONNECTIONS,
    connect: { lookup, timeout: 5000 },
    keepAliveTimeout: 10_000,
  })
  return { request, agent }
}

async function textOf(body: AsyncIterable<Buffer>): Promise<string> {
  const pieces: Buffer[] = []
  let bytes = 0
  for await (const piece of body) {
    bytes += piece.length
    // Leaving the loop cuts the connection.
    if (bytes > MOST) throw new Error(`the answer is larger than ${MOST / 1024} KiB`)
    pieces.push(piece)
  }
  return Buffer.concat(pieces).toString()
}

/** Seconds, or a date (RFC 9110 section 10.2.3). */
function retryAfterOf(value: string | string[] | undefined): number | undefined {
  if (typeof value !== 'string') return undefined
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now()
  return Number.isNaN(ms) ? undefined : Math.max(0, ms)
}

/** Without the URL, which may have a secret. */
function reasonOf(error: unknown): string {
  const { name, code, message } = error as Error & { code?: string }
  if (name === 'TimeoutError') return 'no answer in time'
  return code === undefined || code === 'EADDRESS' ? message : code
}
