// Reads a channel up to an end, which the node knows: it ends the stream there.

import type { ReadableStream } from 'node:stream/web'
import { backoff } from '../../client/backoff.ts'
import { type Fault, faultOfCode, type Message } from '../../client/link.ts'
import { pause } from '../../client/pause.ts'
import { Failed, remark } from './command.ts'
import { warnOfGap } from './history.ts'
import { CANNOT_ASK, FAILED, type Remote, request } from './remote.ts'

const TIMING = { backoff: 1000, maxBackoff: 30_000 }

export interface Stretch {
  readonly channel: string
  readonly cursor: string
  /** A position, a time or `head`. */
  readonly until: string
  readonly types?: string
  readonly filter?: string
  readonly every?: string
  readonly newest?: string
}

/**
 * The text of each event. A stream that breaks is resumed where it broke, and a node that answered before is waited for.
 * Ends early if the signal aborts. Raises Failed.
 */
export async function* eventsUntil(
  remote: Remote,
  stretch: Stretch,
  signal: AbortSignal,
): AsyncGenerator<string, void, undefined> {
  let { cursor } = stretch
  let answered = false
  for (let failures = 0; !signal.aborted;) {
    let fault: Fault = { why: 'the connection was cut' }
    try {
      const query = new URLSearchParams({ ...stretch, cursor })
      const { body } = await request(remote, `/v1/stream?${query}`, { signal })
      answered = true
      for await (const line of linesOf(body as ReadableStream<Uint8Array>)) {
        if (line === '') continue
        const { id, open, gap, passed, close } = JSON.parse(line) as Message
        if (close?.code === 1000) return
        if (close) fault = faultOfCode(close.code, close.reason, close.retry)
        if (gap) warnOfGap(gap)
        cursor = id ?? open?.cursor ?? gap?.to ?? passed?.cursor ?? cursor
        if (id !== undefined) {
          failures = 0
          yield line
        }
      }
    } catch (error) {
      // Otherwise the stream broke.
      if (error instanceof Failed && !signal.aborted) {
        if (!answered || error.exitCode !== CANNOT_ASK) throw error
        fault = { why: error.message }
      }
    }
    if (signal.aborted) return
    if (fault.kind === 'final') throw new Failed(`the node ended the stream: ${fault.why}`, FAILED)
    remark(`${fault.why}; trying again`)
    await pause(backoff(failures++, fault.hint ?? 0, TIMING), signal)
  }
}

/** Whole lines: what follows the last line feed was cut. */
async function* linesOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of body) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    yield* lines
  }
}
