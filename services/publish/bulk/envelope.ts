// The entries of a bulk publish in one JSON text, `{"events":[…]}`: checked as a whole before any is published.

import { isUtf8 } from 'node:buffer'
import { setImmediate } from 'node:timers/promises'
import { FanwireError } from '../../errors.ts'
import { elements, type Member, members, withoutMark } from '../../broker/event/json-spans.ts'

/** The maximum events of one JSON text, since their results are held as a whole. */
const MOST_EVENTS = 100_000
/** Bytes after which the event loop gets its turn. */
const TURN_BYTES = 256 * 1024

/** Raises FW_BAD_ENCODING, FW_BAD_JSON, FW_BAD_EVENT, FW_TOO_LARGE; otherwise every entry is valid JSON. */
export async function parseEnvelope(sent: Buffer): Promise<Buffer[]> {
  const body = withoutMark(sent)
  if (!isUtf8(body)) throw new FanwireError('FW_BAD_ENCODING', 'the body is not valid UTF-8')
  try {
    return await entriesOf(eventsOf(body))
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause
    throw new FanwireError('FW_BAD_JSON', 'the body is not valid JSON; nothing was published', { cause })
  }
}

/** The value of `events`, which has to be the only member. */
function eventsOf(body: Buffer): Buffer {
  const events = onlyMember(body)
  if (events?.name === 'events' && body[events.start] === 0x5b) return body.subarray(events.start, events.end)
  // Raises if it is not JSON at all.
  JSON.parse(body.toString('utf8'))
  throw new FanwireError('FW_BAD_EVENT', 'expected {"events":[…]} and nothing else; nothing was published')
}

/** Undefined if `body` is not an object with one member. */
function onlyMember(body: Buffer): Member | undefined {
  let only: Member | undefined
  try {
    for (const member of members(body)) {
      if (only !== undefined) return undefined
      only = member
    }
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
  return only
}

async function entriesOf(events: Buffer): Promise<Buffer[]> {
  const entries: Buffer[] = []
  let count = 0
  let turn = TURN_BYTES
  for (const entry of elements(events)) {
    count += countOf(JSON.parse(entry.toString('utf8')))
    if (count > MOST_EVENTS) {
      const message = `more than ${MOST_EVENTS} events; send them as application/x-ndjson, one per line`
      throw new FanwireError('FW_TOO_LARGE', message)
    }
    entries.push(entry)
    turn -= entry.length
    if (turn < 0) {
      await setImmediate()
      turn = TURN_BYTES
    }
  }
  return entries
}

/** The maximum number of events of an entry. */
function countOf(entry: unknown): number {
  const channels = typeof entry === 'object' && entry !== null && 'channels' in entry ? entry.channels : []
  return Array.isArray(channels) ? Math.max(1, channels.length) : 1
}
