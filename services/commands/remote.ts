// Shared by commands that talk to a node: its URL, the credentials, and advice for its errors.

import { parseArgs } from 'node:util'
import { FanwireError } from '../../client/errors.ts'
import { urlOf } from '../urls.ts'
import { nodeInEnvironment } from '../config/config.ts'
import { Failed, Misused, readArgs } from './command.ts'

/** Exit code: the node refused it. */
export const FAILED = 1
/** Exit code: the node could not be reached. */
export const CANNOT_ASK = 3

const ANSWER_MS = 30_000

export const REMOTE_OPTIONS = {
  url: { type: 'string' },
  token: { type: 'string' },
  json: { type: 'boolean' },
} as const

/** The common part of --help. */
export const REMOTE_HELP = `  --url URL        the node (default: FANWIRE_URL, or http://127.0.0.1:8080)
  --token TOKEN    a token or an API key (default: FANWIRE_TOKEN)
  --json           prints one JSON object per line

Exit codes: 0 done, 1 the node refused it, 2 wrong usage, 3 the node could not be reached.`

export interface Remote {
  readonly url: string
  readonly token: string | undefined
  readonly json: boolean
}

type Flags = Readonly<Record<string, { readonly type: 'string' | 'boolean' }>>
type ValuesOf<F extends Flags> = {
  readonly [Name in keyof F]?: F[Name]['type'] extends 'boolean' ? boolean : string
}

/** The arguments of a command that talks to a node. Raises Misused. */
export function remoteArgs<const F extends Flags>(
  args: readonly string[],
  flags: F,
): { readonly values: ValuesOf<F>; readonly positionals: readonly string[]; readonly remote: Remote } {
  const options = { ...REMOTE_OPTIONS, ...flags }
  const parsed = readArgs(() => parseArgs({ args: [...args], options, allowPositionals: true }))
  const { url, token, json } = parsed.values as { url?: string; token?: string; json?: boolean }
  const remote: Remote = {
    url: urlOfNode(url),
    token: token ?? nodeInEnvironment().token,
    json: json === true,
  }
  return { values: parsed.values as ValuesOf<F>, positionals: parsed.positionals, remote }
}

/** The URL of the node that `--url` or the environment names, without a slash at the end. Raises Misused. */
export function urlOfNode(flag: string | undefined): string {
  const url = (flag ?? nodeInEnvironment().url ?? 'http://127.0.0.1:8080').replace(/\/+$/, '')
  if (!/^https?:\/\//.test(url) || urlOf(url) === undefined)
    throw new Misused(`${JSON.stringify(url)} is not the URL of a node, such as http://127.0.0.1:8080`)
  return url
}

export const pathOf = (channel: string) => `/v1/channels/${encodeURIComponent(channel)}`

/** The JSON of a response. Raises Failed. */
export async function askNode<T>(remote: Remote, path: string, init: RequestInit = {}): Promise<T> {
  const response = await request(remote, path, { ...init, signal: AbortSignal.timeout(ANSWER_MS) })
  return (await response.json()) as T
}

/** A successful response. Raises Failed. */
export async function request(
  { url, token }: Remote,
  path: string,
  init: RequestInit = {},
): Promise<Response> {
  const headers = { ...init.headers, ...(token && { authorization: `Bearer ${token}` }) } as Record<
    string,
    string
  >
  let response: Response
  try {
    response = await fetch(url + path, { ...init, headers })
  } catch (error) {
    throw unreachable(url, error)
  }
  if (response.ok) return response
  const { error } = (await response.json().catch(() => ({}))) as { error?: { code: string; message: string } }
  const { code, message } = error ?? {
    code: `HTTP_${response.status}`,
    message: 'the response is not from fanwire',
  }
  throw failedBy(new FanwireError(code, message, response.status), token)
}

/** The message for an error of `fetch`. */
export function notReached(url: string, error: unknown): string {
  const { cause = error } = error as Error
  return `${url} could not be reached: ${(cause as NodeJS.ErrnoException).code ?? (cause as Error).message}`
}

/** The failure for an error of `fetch`, with advice. */
export function unreachable(url: string, error: unknown): Failed {
  return new Failed(
    `${notReached(url, error)}. Is a node running there? Use --url or FANWIRE_URL for another one`,
    CANNOT_ASK,
  )
}

/** The failure for a node's error, with advice. */
export function failedBy(error: FanwireError, token: string | undefined): Failed {
  const { code, message, status } = error
  const advice =
    code === 'FW_UNAUTHORIZED'
      ? token === undefined
        ? '. Give --token or FANWIRE_TOKEN'
        : '. fanwire token check says what is wrong with a token'
      : code === 'FW_FORBIDDEN'
        ? '. fanwire explain says which rule denies it'
        : ''
  return new Failed(
    `${code}: ${message}${advice}`,
    status !== undefined && status >= 500 ? CANNOT_ASK : FAILED,
  )
}

/** Writes a line, and waits if the reader of the pipe is slow. */
export async function writeLine(text: string): Promise<void> {
  if (!process.stdout.write(`${text}\n`)) await new Promise(resolve => process.stdout.once('drain', resolve))
}

/** One channel. Raises Misused. */
export function oneChannel(positionals: readonly string[]): string {
  const [channel, ...more] = positionals
  if (channel === undefined || more.length > 0) throw new Misused('name one channel')
  return channel
}

/** An event for people. */
export function inWords({
  id = '-',
  time,
  type,
  data,
}: {
  id?: string
  time: number
  type?: string
  data: unknown
}): string {
  const text = typeof data === 'string' ? data : JSON.stringify(data)
  return `${new Date(time).toISOString()}  ${id}${type === undefined ? '' : `  ${type}`}  ${text}`
}
