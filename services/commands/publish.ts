// `fanwire publish`: one event, or one for each line of a pipe.

import { createInterface } from 'node:readline'
import { FanwireError } from '../../client/errors.ts'
import { createPublisher, type Entry } from '../../client/publisher.ts'
import { type Command, Failed, Misused, print, remark } from './command.ts'
import { FAILED, failedBy, type Remote, REMOTE_HELP, remoteArgs, writeLine } from './remote.ts'

const OPTIONS = { type: { type: 'string' }, text: { type: 'boolean' }, key: { type: 'string' } } as const

export const publish: Command = {
  help: `fanwire publish CHANNEL [DATA|-]: publishes an event, or one for each line of stdin

  DATA             JSON; anything else is published as a string
  -, or nothing    each line of stdin is the JSON of an event (NDJSON); blank lines are skipped
  --text           lines and DATA are strings, whatever they look like
  --type TYPE      of the events
  --key KEY        the idempotency key of a single event: a repeat with it publishes nothing
${REMOTE_HELP}

Examples: fanwire publish news '{"title":"hello"}'
          tail -f app.log | fanwire publish logs --text`,

  async run(args) {
    const { values, positionals, remote } = remoteArgs(args, OPTIONS)
    const [channel, data = '-', ...more] = positionals
    if (channel === undefined || more.length > 0) throw new Misused('name a channel, and at most one DATA')
    const { token } = remote
    const publisher = createPublisher(remote.url, { ...(token !== undefined && { key: token }) })
    const type = values.type === undefined ? {} : { type: values.type }
    try {
      if (data === '-') return await publishLines(publisher, channel, type, values.text === true, remote)
      const key = values.key === undefined ? {} : { idempotencyKey: values.key }
      const receipt = await publisher.publish(channel, values.text ? data : valueOf(data), {
        ...type,
        ...key,
      })
      print(remote.json ? JSON.stringify(receipt) : `${receipt.id}`)
      return 0
    } catch (error) {
      if (error instanceof FanwireError) throw failedBy(error, token)
      throw error
    } finally {
      publisher.close()
    }
  },
}

function valueOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** Holds no more than fits into some requests, however long the pipe is. */
async function publishLines(
  publisher: ReturnType<typeof createPublisher>,
  channel: string,
  type: { readonly type?: string },
  asText: boolean,
  { json }: Remote,
): Promise<number> {
  let count = 0
  for await (const receipt of publisher.all(entries(channel, type, asText))) {
    count++
    if (json) await writeLine(JSON.stringify(receipt))
  }
  if (!json) remark(`${count} event${count === 1 ? '' : 's'} published`)
  return 0
}

async function* entries(
  channel: string,
  type: { readonly type?: string },
  asText: boolean,
): AsyncGenerator<Entry> {
  let number = 0
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    number++
    if (line.trim() === '') continue
    yield { channel, data: asText ? line : parseLine(line, number), ...type }
  }
}

function parseLine(line: string, number: number): unknown {
  try {
    return JSON.parse(line)
  } catch {
    throw new Failed(
      `line ${number} is not JSON: --text publishes lines as strings. Those before it are published`,
      FAILED,
    )
  }
}
