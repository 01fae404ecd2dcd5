// Requests to a node's admin routes, with an API key.

import { readFile } from 'node:fs/promises'
import { nodeInEnvironment } from '../config/config.ts'
import { Failed, Misused } from './command.ts'
import { CANNOT_ASK, unreachable, urlOfNode } from './remote.ts'

const ANSWER_MS = 10_000

export const ADMIN_OPTIONS = {
  url: { type: 'string' },
  key: { type: 'string' },
  'key-file': { type: 'string' },
  json: { type: 'boolean' },
} as const

/** The common part of --help. */
export const ADMIN_HELP = `  --url URL        the node (default: FANWIRE_URL, or http://127.0.0.1:8080)
  --key KEY        an API key with the right admin (default: FANWIRE_TOKEN); --key-file FILE reads it from a file`

export interface AdminFlags {
  readonly url?: string
  readonly key?: string
  readonly 'key-file'?: string
}

/** The response of an admin route. A request with a body is a POST. Raises Misused and Failed. */
export async function askAdmin<T extends object>(flags: AdminFlags, path: string, body?: object): Promise<T> {
  const node = urlOfNode(flags.url)
  const key = await keyOf(flags)
  let response: Response
  try {
    response = await fetch(node + path, {
      method: body === undefined ? 'GET' : 'POST',
      headers: {
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...(key !== undefined && { authorization: `Bearer ${key}` }),
      },
      body: body === undefined ? null : JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_MS),
    })
  } catch (error) {
    throw unreachable(node, error)
  }
  const answer = (await response.json().catch(() => undefined)) as
    | (T & { error?: { code: string; message: string } })
    | undefined
  if (answer === undefined)
    throw new Failed(`HTTP_${response.status}: the response is not from fanwire`, CANNOT_ASK)
  if (answer.error === undefined) return answer
  const { code, message } = answer.error
  const advice = response.status === 401 ? '. Give --key, --key-file or FANWIRE_TOKEN' : ''
  throw new Failed(`${code}: ${message}${advice}`, CANNOT_ASK)
}

/** The API key. Raises Misused. */
async function keyOf({ key, 'key-file': file }: AdminFlags): Promise<string | undefined> {
  if (key !== undefined) return key
  if (file === undefined) return nodeInEnvironment().token
  try {
    return (await readFile(file, 'utf8')).trim()
  } catch (error) {
    throw new Misused(`${file} cannot be read: ${(error as NodeJS.ErrnoException).code}`)
  }
}
