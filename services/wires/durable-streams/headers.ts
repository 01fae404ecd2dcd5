// The headers of requests, checked.

import type { IncomingHttpHeaders } from 'node:http'
import { FanwireError } from '../../errors.ts'
import type { Produced, StreamConfig } from '../../broker/streams/state.ts'

const NUMBER = /^(?:0|[1-9][0-9]{0,15})$/
/** RFC 3339 section 5.6. */
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/i
/** It must fit into a tag, together with two numbers. */
const MAX_NAME = 200

function bad(message: string): FanwireError {
  return new FanwireError('FW_BAD_REQUEST', message)
}

/** A header that may occur once; undefined if it is missing. */
function one(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name]
  return Array.isArray(value) ? value.join(', ') : value
}

/** Any value except `true` is ignored. */
export function closes(headers: IncomingHttpHeaders): boolean {
  return one(headers, 'stream-closed')?.toLowerCase() === 'true'
}

/** Raises FW_BAD_REQUEST. */
export function lifeOf(headers: IncomingHttpHeaders): Omit<StreamConfig, 'contentType'> {
  const ttl = one(headers, 'stream-ttl')
  const expiresAt = one(headers, 'stream-expires-at')
  if (ttl !== undefined && expiresAt !== undefined)
    throw bad('Stream-TTL and Stream-Expires-At cannot be combined')
  if (ttl !== undefined && !NUMBER.test(ttl)) throw bad('Stream-TTL must be a whole number of seconds')
  if (expiresAt !== undefined && !(TIME.test(expiresAt) && Number.isFinite(Date.parse(expiresAt))))
    throw bad('Stream-Expires-At must be an RFC 3339 time')
  return {
    ...(ttl === undefined ? {} : { ttl: Number(ttl) }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
  }
}

/** Raises FW_BAD_REQUEST. */
export function seqOf(headers: IncomingHttpHeaders): string | undefined {
  const seq = one(headers, 'stream-seq')
  if (seq !== undefined && (seq.length > MAX_NAME || /[^\x20-\x7e]/.test(seq)))
    throw bad(`Stream-Seq may have at most ${MAX_NAME} ASCII characters`)
  return seq
}

/** Raises FW_BAD_REQUEST. */
export function producerOf(headers: IncomingHttpHeaders): Produced | undefined {
  const parts = ['producer-id', 'producer-epoch', 'producer-seq'].map(name => one(headers, name))
  if (parts.every(part => part === undefined)) return undefined
  const [id, epoch, seq] = parts
  if (id === undefined || epoch === undefined || seq === undefined)
    throw bad('Producer-Id, Producer-Epoch and Producer-Seq must be sent together')
  if (id === '' || id.length > MAX_NAME || /[^\x20-\x7e]/.test(id))
    throw bad(`Producer-Id must be 1 to ${MAX_NAME} ASCII characters`)
  return { id, epoch: numberOf('Producer-Epoch', epoch), seq: numberOf('Producer-Seq', seq) }
}

function numberOf(name: string, text: string): number {
  const number = Number(text)
  if (!NUMBER.test(text) || !Number.isSafeInteger(number))
    throw bad(`${name} is a whole number from 0 to 2^53 - 1`)
  return number
}

/** Raises FW_NOT_SUPPORTED. */
export function refuseForks(headers: IncomingHttpHeaders): void {
  const forks = Object.keys(headers).some(name => name.startsWith('stream-fork'))
  if (forks) throw new FanwireError('FW_NOT_SUPPORTED', 'forks of streams are not supported')
}
