// Requests to a node's admin routes, with an API key.

import { readFile } from 'node:fs/promises'
import { urlOf } from '../urls.ts'
import { Misused } from './command.ts'

/** Exit code: the node could not be reached. */
export const CANNOT_ASK = 3

const ANSWER_MS = 10_000

/** The URL of a route of the node that `--url` names. Raises Misused. */
export function routeAt(url: string | undefined, path: string): URL {
  const route = url === undefined ? undefined : urlOf(path, url)
  if (route === undefined) throw new Misused('--url is missing or not a URL')
  return route
}

/** The key in the file of `--key-file`. Raises Misused. */
export async function keyIn(path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined
  try {
    return (await readFile(path, 'utf8')).trim()
  } catch (error) {
    throw new Misused(`${path} cannot be read: ${(error as NodeJS.ErrnoException).code}`)
  }
}

/** The response, or the error as text. A request with a body is a POST. */
export async function askAdmin<T extends object>(
  url: URL,
  key: string | undefined,
  body?: object,
): Promise<T | string> {
  try {
    const answer = await fetch(url, {
      method: body === undefined ? 'GET' : 'POST',
      headers: {
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...(key !== undefined && { authorization: `Bearer ${key}` }),
      },
      body: body === undefined ? null : JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_MS),
    })
    const answered = (await answer.json()) as T & { error?: { code: string; message: string } }
    return answered.error === undefined ? answered : `${answered.error.code}: ${answered.error.message}`
  } catch (error) {
    return notReached(url.origin, error)
  }
}

/** The message for an error of `fetch`. */
export function notReached(url: string, error: unknown): string {
  const { cause = error } = error as Error
  return `${url} could not be reached: ${(cause as NodeJS.ErrnoException).code ?? (cause as Error).message}`
}
