// `fanwire export` and `fanwire import`: all events of a channel to a file, and back.

import { members } from '../broker/event/json-spans.ts'
import type { Entry } from '../../client/publisher.ts'
import type { Event } from '../../client/types.ts'
import { type Command, Failed, remark } from './command.ts'
import { linesOfStdin, publishAll, withPublisher } from './lines.ts'
import { FAILED, oneChannel, REMOTE_HELP, remoteArgs, writeLine } from './remote.ts'
import { eventsUntil } from './stream.ts'

export const exportChannel: Command = {
  help: `fanwire export CHANNEL > FILE: writes all events of a channel as NDJSON, for fanwire import

${REMOTE_HELP}`,

  async run(args) {
    const { positionals, remote } = remoteArgs(args, {})
    let count = 0
    const all = { channel: oneChannel(positionals), cursor: 'earliest', until: 'head' }
    for await (const line of eventsUntil(remote, all, new AbortController().signal)) {
      await writeLine(line)
      count++
    }
    remark(`${count} event${count === 1 ? '' : 's'} exported`)
    return 0
  },
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
