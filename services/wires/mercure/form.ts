// The form of a publish request, checked.

import { isUtf8 } from 'node:buffer'
import { ownCopy } from '../../broker/event/names.ts'
import { BASE, hasUnseen, requireForeign, topicFault } from '../../broker/event/topics.ts'
import { FanwireError, quote } from '../../errors.ts'

export interface Form {
  /** Without duplicates; the first is the canonical one. */
  readonly topics: readonly [string, ...string[]]
  readonly text: string
  readonly private: boolean
  readonly id: string | undefined
  readonly type: string | undefined
  readonly retry: number | undefined
}

export const HUB = '/.well-known/mercure'

/** The maximum characters of an id or a type. */
const LONGEST_NAME = 256
/** A day, ms. */
const LONGEST_RETRY_MS = 86_400_000

/**
 * Its names are copies, which do not keep the form in memory. Raises FW_BAD_ENCODING, FW_BAD_EVENT, FW_BAD_CHANNEL,
 * FW_TOO_LARGE with more than `most` topics.
 */
export function formOf(body: Buffer, most: number): Form {
  if (!isUtf8(body)) throw new FanwireError('FW_BAD_ENCODING', 'the form is not valid UTF-8')
  const fields = new URLSearchParams(body.toString())
  const [canonical, ...others] = [...new Set(fields.getAll('topic').map(ownCopy))]
  if (canonical === undefined) throw bad('an update needs at least one topic')
  if (others.length >= most)
    throw new FanwireError('FW_TOO_LARGE', `an update may have at most ${most} topics`)
  for (const topic of [canonical, ...others]) requireTopic(topic)
  return {
    topics: [canonical, ...others],
    text: fields.get('data') ?? '',
    private: fields.has('private'),
    id: checkedName('id', fields.get('id')),
    type: checkedName('type', fields.get('type')),
    retry: checkedRetry(fields.get('retry')),
  }
}

function requireTopic(topic: string): void {
  const fault = topicFault(topic)
  if (fault !== undefined) throw bad(`the topic ${quote(topic)} ${fault}`)
  requireForeign(topic)
  if (topic === '*') throw bad('* means all topics, and cannot be published to')
  if (isReserved(topic)) throw bad(`the topics below ${HUB} are reserved for the hub`)
}

/** Whether it resolves to the hub's own path, in any spelling. */
function isReserved(topic: string): boolean {
  try {
    const path = decodeURIComponent(new URL(topic, BASE).pathname)
    return path === HUB || path.startsWith(`${HUB}/`)
  } catch {
    return false
  }
}

function checkedName(field: 'id' | 'type', value: string | null): string | undefined {
  if (value === null || value === '') return undefined
  if (value.length > LONGEST_NAME || hasUnseen(value))
    throw bad(`${field} may have at most ${LONGEST_NAME} characters, without control and format characters`)
  if (field === 'id' && (value.startsWith('#') || value === 'earliest'))
    throw bad('id may not begin with #, nor be earliest: these are reserved for the hub')
  if (field === 'type' && value === 'mercure') throw bad('the type mercure is reserved for the hub')
  return ownCopy(value)
}

function checkedRetry(value: string | null): number | undefined {
  if (value === null || value === '') return undefined
  if (/^[0-9]{1,9}$/.test(value) && Number(value) <= LONGEST_RETRY_MS) return Number(value)
  throw bad(`retry is a whole number of ms, at most ${LONGEST_RETRY_MS}`)
}

function bad(message: string): FanwireError {
  return new FanwireError('FW_BAD_EVENT', message)
}
