// `fanwire history`: the newest events of a channel, or those before a position.

import { elements, members } from '../broker/event/json-spans.ts'
import type { Event, Gap } from '../../client/types.ts'
import { type Command, Misused, remark } from './command.ts'
import {
  inWords,
  oneChannel,
  pathOf,
  type Remote,
  REMOTE_HELP,
  remoteArgs,
  request,
  writeLine,
} from './remote.ts'

/** Events per page, the maximum of a node. */
const PAGE = 1000
/** The maximum number of events: they are held in memory until the oldest one has arrived. */
const MOST = 10_000

interface Asked {
  readonly before?: string
  readonly after?: string
  readonly limit: number
}

interface Page {
  /** The text of each, in the order of the log. */
  readonly events: readonly string[]
  readonly gaps: readonly Gap[]
  /** `before` for the previous page. */
  readonly before: string | null
}

export const history: Command = {
  help: `fanwire history CHANNEL [--limit N] [--before POSITION] [--after POSITION] [--reverse]: prints the newest events of a channel, oldest first

  --limit N         how many (default: 20, at most ${MOST}); fanwire export prints all
  --before POSITION only events before this one
  --after POSITION  only events after this one
  --reverse         newest first
${REMOTE_HELP}`,

  async run(args) {
    const { values, positionals, remote } = remoteArgs(args, {
      limit: { type: 'string' },
      before: { type: 'string' },
      after: { type: 'string' },
      reverse: { type: 'boolean' },
    })
    const channel = oneChannel(positionals)
    const { before, after, reverse } = values
    const limit = Number(values.limit ?? 20)
    if (!Number.isInteger(limit) || limit < 1 || limit > MOST)
      throw new Misused(`--limit is a number from 1 to ${MOST}`)
    const asked = { limit, ...(before !== undefined && { before }), ...(after !== undefined && { after }) }
    const held: Page[] = []
    for await (const page of pagesBack(remote, channel, asked)) {
      if (reverse) await print(remote, { ...page, events: page.events.toReversed() })
      else held.push(page)
    }
    for (const page of held.reverse()) await print(remote, page)
    return 0
  },
}

async function* pagesBack(remote: Remote, channel: string, asked: Asked): AsyncGenerator<Page> {
  let { limit: left, before = 'head' }: { limit: number; before?: string | null } = asked
  while (left > 0 && before !== null) {
    const query = new URLSearchParams({ before, limit: `${Math.min(left, PAGE)}` })
    if (asked.after !== undefined) query.set('after', asked.after)
    const page = pageOf(await request(remote, `${pathOf(channel)}/events?${query}`).then(bytesOf))
    yield page
    left -= page.events.length
    before = page.before
  }
}

const bytesOf = async (response: Response) => Buffer.from(await response.arrayBuffer())

/** Keeps events as text: their numbers may have more digits than JavaScript's. */
function pageOf(json: Buffer): Page {
  const values = new Map([...members(json)].map(({ name, start, end }) => [name, json.subarray(start, end)]))
  const parsed = (name: string): unknown => JSON.parse(values.get(name)?.toString() ?? 'null')
  return {
    events: [...elements(values.get('events') ?? Buffer.from('[]'))].map(String),
    gaps: (parsed('gaps') ?? []) as readonly Gap[],
    before: parsed('before') as string | null,
  }
}

async function print({ json }: Remote, { events, gaps }: Page): Promise<void> {
  for (const gap of gaps) warnOfGap(gap)
  const readable = process.stdout.isTTY && !json
  for (const event of events) await writeLine(readable ? inWords(JSON.parse(event) as Event) : event)
}

export function warnOfGap({ channel, from, to }: Gap): void {
  remark(`events of ${channel} after ${from}, up to ${to}, may be lost`)
}
