// `fanwire export` and `fanwire import`: all events of a channel to a file, and back.

import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import type { ReadableStream } from 'node:stream/web'
import { members } from '../broker/event/json-spans.ts'
import type { Message } from '../../client/link.ts'
import type { Entry } from '../../client/publisher.ts'
import type { Event } from '../../client/types.ts'
import { type Command, Failed, remark } from './command.ts'
import { warnOfGap } from './history.ts'
import { linesOfStdin, publishAll, withPublisher } from './lines.ts'
import {
  CANNOT_ASK,
  FAILED,
  oneChannel,
  type Remote,
  REMOTE_HELP,
  remoteArgs,
  request,
  writeLine,
} from './remote.ts'

export const exportChannel: Command = {
  help: `fanwire export CHANNEL > FILE: writes all events of a channel as NDJSON, for fanwire import

${REMOTE_HELP}`,

  async run(args) {
    const { positionals, remote } = remoteArgs(args, {})
    let count = 0
    for await (const line of eventsOf(remote, oneChannel(positionals))) {
      await writeLine(line)
      count++
    }
    remark(`${count} event${count === 1 ? '' : 's'} exported`)
    return 0
  },
}

/** The text of each event up to the head. A stream that breaks is resumed. */
async function* eventsOf(remote: Remote, channel: string): AsyncGenerator<string> {
  for (let cursor = 'earliest', last = ''; cursor !== last;) {
    last = cursor
    const query = new URLSearchParams({ channel, cursor, until: 'head' })
    const { body } = await request(remote, `/v1/stream?${query}`)
    try {
      for await (const line of createInterface({ input: Readable.fromWeb(body as ReadableStream) })) {
        const { id, gap, close } = JSON.parse(line) as Message
        if (gap) warnOfGap(gap)
        if (close?.code === 1000) return
        cursor = id ?? gap?.to ?? cursor
        if (id !== undefined) yield line
      }
    } catch {
      // The stream broke, perhaps within a line.
    }
  }
  throw new Failed(`${remote.url} ended the stream before the last event`, CANNOT_ASK)
}

export const importChannel: Command = {
  help: `fanwire import CHANNEL < FILE: publishes the output of fanwire export again: data, types and tags, in order

Positions and times are new; erased events are left out. The old position is the idempotency key, so that an interrupted
import can be repeated within the window of these keys (FANWIRE_IDEMPOTENCY_WINDOW).
${REMOTE_HELP}`,

  async run(args) {
    const { positionals, remote } = remoteArgs(args, {})
    const channel = oneChannel(positionals)
    return withPublisher(remote, publisher => publishAll(publisher, entries(channel), remote, 'imported'))
  },
}

async function* entries(channel: string): AsyncGenerator<Entry> {
  for await (const [line, number] of linesOfStdin()) {
    const { id, type, tags, encoding, erased } = parse(line, number)
    if (erased) continue
    yield {
      channel,
      json: dataOf(line, number),
      ...(id !== undefined && { idempotencyKey: `import:${id}` }),
      ...(type !== undefined && { type }),
      ...(tags !== undefined && { tags }),
      ...(encoding !== undefined && { encoding }),
    }
  }
}

function parse(line: string, number: number): Partial<Event> {
  try {
    return JSON.parse(line) as Partial<Event>
  } catch {
    throw new Failed(`line ${number} is not JSON: import reads the output of fanwire export`, FAILED)
  }
}

/** The text of the data, as it was published. */
function dataOf(line: string, number: number): string {
  const json = Buffer.from(line)
  for (const { name, start, end } of line.startsWith('{') ? members(json) : []) {
    if (name === 'data') return json.toString('utf8', start, end)
  }
  throw new Failed(`line ${number} has no data: import reads the output of fanwire export`, FAILED)
}
