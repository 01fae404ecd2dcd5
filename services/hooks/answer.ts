// Parses the application's response, which has one of three forms.

import { isObject } from '../broker/event/json-values.ts'
import { claimsFault, CLOCK_LEEWAY_MS } from '../broker/access/claims.ts'
import { capsGrants, type Grants } from '../broker/access/grants.ts'
import { unbroken } from '../broker/event/event.ts'
import { memberOf, withoutMark } from '../broker/event/json-spans.ts'

export interface Result {
  readonly user: string
  readonly info: unknown
  /** Ms since 1970; undefined if the response has none. */
  readonly expiresAt: number | undefined
  readonly caps: Grants | undefined
  /** The data as it was sent, JSON. */
  readonly data: Buffer | undefined
}

/** A refusal with the application's own code. */
export interface Refusal {
  readonly code: number | string
  readonly message: string
}

export type Answer =
  | { readonly result: Result }
  | { readonly error: Refusal }
  | { readonly disconnect: { readonly code: number; readonly reason: string } }

export class BadAnswer extends Error {
  override readonly name = 'BadAnswer'
}

const RESULT: ReadonlySet<string> = new Set(['user', 'info', 'expire_at', 'caps', 'data'])
/** RFC 6455 section 5.5. */
const LONGEST_REASON = 123
const LONGEST_MESSAGE = 500
const LONGEST_CODE = 64
export const NOTHING_SAID: Result = {
  user: '',
  info: undefined,
  expiresAt: undefined,
  caps: undefined,
  data: undefined,
}

/** When a grant ends, with a leeway, since clocks may differ. */
export function endOf(expiresAt: number | undefined): number | undefined {
  return expiresAt === undefined ? undefined : expiresAt + CLOCK_LEEWAY_MS
}

type Json = Readonly<Record<string, unknown>>

/** Parses a response. Raises BadAnswer. */
export function readAnswer(sent: Buffer): Answer {
  const body = withoutMark(sent)
  const answer = objectOf(parse(body), 'the answer')
  const [name, ...others] = Object.keys(answer)
  if (name === undefined || others.length > 0) {
    throw new BadAnswer('the answer does not have exactly one of result, error and disconnect')
  }
  const value = objectOf(answer[name], name)
  if (name === 'result') return { result: resultOf(value, body) }
  if (name === 'error') return { error: refusalOf(value) }
  if (name === 'disconnect') return { disconnect: disconnectOf(value) }
  throw new BadAnswer('the answer has none of result, error and disconnect')
}

function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString())
  } catch {
    throw new BadAnswer('the answer is not valid JSON')
  }
}

function objectOf(value: unknown, name: string): Json {
  if (isObject(value)) return value
  throw new BadAnswer(`${name} is not an object`)
}

function resultOf(result: Json, body: Buffer): Result {
  if (Object.keys(result).some(name => !RESULT.has(name))) {
    throw new BadAnswer(`result has a member other than ${[...RESULT].join(', ')}`)
  }
  const { user, info, expire_at: expireAt, caps } = result
  const fault = claimsFault({ sub: user, info, expire_at: expireAt })
  if (fault !== undefined) throw new BadAnswer(`in result, ${fault.replace(/^sub /, 'user ')}`)
  const grants = caps === undefined ? undefined : capsGrants('hook', caps)
  if (typeof grants === 'string') throw new BadAnswer(`in result, ${grants}`)
  return {
    user: (user as string | undefined) ?? '',
    info,
    expiresAt: typeof expireAt === 'number' && expireAt !== 0 ? expireAt * 1000 : undefined,
    caps: grants,
    data: 'data' in result ? dataOf(body) : undefined,
  }
}

/** The data as it was sent, since parsing could change numbers. */
function dataOf(body: Buffer): Buffer | undefined {
  const result = memberOf(body, 'result')
  const data = result && memberOf(result, 'data')
  return data && unbroken(Buffer.from(data))
}

function refusalOf({ code = 403, message = 'the application refuses this', ...others }: Json): Refusal {
  const isCode = typeof code === 'number' || (typeof code === 'string' && code.length <= LONGEST_CODE)
  if (!isCode || typeof message !== 'string' || Object.keys(others).length > 0) {
    throw new BadAnswer('error is not {"code","message"}')
  }
  return { code, message: plain(message, LONGEST_MESSAGE) }
}

function disconnectOf({ code, reason = '', ...others }: Json): { code: number; reason: string } {
  if (
    typeof code !== 'number' ||
    !Number.isInteger(code) ||
    code < 4000 ||
    code > 4999 ||
    typeof reason !== 'string' ||
    Object.keys(others).length > 0
  ) {
    throw new BadAnswer('disconnect is not {"code","reason"} with a code from 4000 to 4999')
  }
  const bytes = Buffer.from(plain(reason, LONGEST_REASON)).subarray(0, LONGEST_REASON)
  return { code, reason: bytes.toString().replace(/\ufffd+$/, '') }
}

/** Shortens a text and puts it on one line. */
function plain(text: string, most: number): string {
  return Buffer.from(text.slice(0, most))
    .toString()
    .replaceAll(/\p{Cc}+/gu, ' ')
}
