// `fanwire publish`: one event, or one for each line of a pipe.

import type { Entry } from '../../client/publisher.ts'
import { type Command, Failed, Misused, print } from './command.ts'
import { linesOfStdin, publishAll, withPublisher } from './lines.ts'
import { FAILED, REMOTE_HELP, remoteArgs } from './remote.ts'

const OPTIONS = { type: { type: 'string' }, text: { type: 'boolean' }, key: { type: 'string' } } as const

export const publish: Command = {
  help: `fanwire publish CHANNEL [DATA|-]: publishes an event, or one for each line of stdin

  DATA             JSON; anything else is published as a string
  -, or nothing    each line of stdin is the JSON of an event (NDJSON); blank lines are skipped
  --text           publishes lines and DATA as strings, even if they are JSON
  --type TYPE      the type of the events
  --key KEY        the idempotency key of a single event: repeats with the same key publish nothing
${REMOTE_HELP}

Examples: fanwire publish news '{"title":"hello"}'
          tail -f app.log | fanwire publish logs --text`,

  async run(args) {
    const { values, positionals, remote } = remoteArgs(args, OPTIONS)
    const [channel, data = '-', ...more] = positionals
    if (channel === undefined || more.length > 0) throw new Misused('name a channel, and at most one DATA')
    const type = values.type === undefined ? {} : { type: values.type }
    return withPublisher(remote, async publisher => {
      if (data === '-') {
        const lines = entries(channel, type, values.text === true)
        return publishAll(publisher, lines, remote, 'published')
      }
      const key = values.key === undefined ? {} : { idempotencyKey: values.key }
      const json = values.text || !isJson(data) ? JSON.stringify(data) : data
      const receipt = await publisher.send({ channel, json, ...type, ...key })
      print(remote.json ? JSON.stringify(receipt) : `${receipt.id}`)
      return 0
    })
  },
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

async function* entries(
  channel: string,
  type: { readonly type?: string },
  asText: boolean,
): AsyncGenerator<Entry> {
  for await (const [line, number] of linesOfStdin()) {
    if (!asText && !isJson(line)) {
      const message = `line ${number} is not JSON: --text publishes lines as strings. The lines before it are published`
      throw new Failed(message, FAILED)
    }
    yield { channel, json: asText ? JSON.stringify(line) : line, ...type }
  }
}
