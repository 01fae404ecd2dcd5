// `fanwire history`: the newest events of a channel; and `fanwire export` and `import`: all of them, out and in again.

import { createInterface } from 'node:readline'
import { FanwireError } from '../../client/errors.ts'
import { createPublisher, type Entry } from '../../client/publisher.ts'
import type { Event, Gap } from '../../client/types.ts'
import { type Command, Failed, Misused, remark } from './command.ts'
import {
  askNode,
  FAILED,
  failedBy,
  inWords,
  oneChannel,
  pathOf,
  type Remote,
  REMOTE_HELP,
  remoteArgs,
  writeLine,
} from './remote.ts'

interface Page {
  readonly events: readonly Event[]
  readonly gaps?: readonly Gap[]
  readonly cursor: string
  readonly more?: true
}

/** All pages from a cursor on, to the head as it is when they are read. */
async function* pagesOf(remote: Remote, channel: string, cursor: string): AsyncGenerator<Page> {
  for (let at = cursor, more = true; more;) {
    const query = new URLSearchParams({ channel, cursor: at, limit: '1000' })
    const page = await askNode<Page>(remote, `/v1/poll?${query}`)
    yield page
    at = page.cursor
    more = page.more === true
  }
}

function tellGaps({ gaps = [] }: Page): void {
  for (const { channel, from, to } of gaps)
    remark(`events of ${channel} after ${from}, up to ${to}, may be lost`)
}

export const history: Command = {
  help: `fanwire history CHANNEL [--limit N] [--after POSITION]: the newest events of a channel, in order

  --limit N        20 unless it is said
  --after POSITION from there on, instead of the newest
${REMOTE_HELP}`,

  async run(args) {
    const { values, positionals, remote } = remoteArgs(args, {
      limit: { type: 'string' },
      after: { type: 'string' },
    })
    const channel = oneChannel(positionals)
    const limit = Number(values.limit ?? 20)
    if (!Number.isInteger(limit) || limit < 1) throw new Misused('--limit is a number from 1 on')
    let cursor = values.after
    if (cursor === undefined) {
      const { head, count } = await askNode<{ head: string; count: number }>(remote, pathOf(channel))
      const [epoch, offset] = head.split('-')
      cursor = count > limit ? `${epoch}-${Number(offset) - limit}` : 'earliest'
    }
    let left = limit
    for await (const page of pagesOf(remote, channel, cursor)) {
      tellGaps(page)
      for (const event of page.events.slice(0, left)) {
        await writeLine(process.stdout.isTTY && !remote.json ? inWords(event) : JSON.stringify(event))
      }
      left -= page.events.length
      if (left <= 0) break
    }
    return 0
  },
}

export const exportChannel: Command = {
  help: `fanwire export CHANNEL > FILE: all events of a channel as NDJSON, as fanwire import takes them

${REMOTE_HELP}`,

  async run(args) {
    const { positionals, remote } = remoteArgs(args, {})
    let count = 0
    for await (const page of pagesOf(remote, oneChannel(positionals), 'earliest')) {
      tellGaps(page)
      for (const event of page.events) await writeLine(JSON.stringify(event))
      count += page.events.length
    }
    remark(`${count} event${count === 1 ? '' : 's'} exported`)
    return 0
  },
}

export const importChannel: Command = {
  help: `fanwire import CHANNEL < FILE: publishes what fanwire export wrote: data, types and tags, in order

Positions and times are new. Each event has its old position as its idempotency key, so that an import that broke off can
be begun again within the window of such keys (FANWIRE_IDEMPOTENCY_WINDOW).
${REMOTE_HELP}`,

  async run(args) {
    const { positionals, remote } = remoteArgs(args, {})
    const channel = oneChannel(positionals)
    const { token, json } = remote
    const publisher = createPublisher(remote.url, { ...(token !== undefined && { key: token }) })
    let count = 0
    try {
      for await (const receipt of publisher.all(entries(channel))) {
        count++
        if (json) await writeLine(JSON.stringify(receipt))
      }
    } catch (error) {
      if (error instanceof FanwireError) throw failedBy(error, token)
      throw error
    } finally {
      publisher.close()
    }
    remark(`${count} event${count === 1 ? '' : 's'} imported`)
    return 0
  },
}

async function* entries(channel: string): AsyncGenerator<Entry> {
  let number = 0
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    number++
    if (line.trim() === '') continue
    let event: Partial<Event>
    try {
      event = JSON.parse(line) as Partial<Event>
    } catch {
      throw new Failed(`line ${number} is not JSON: import takes what fanwire export wrote`, FAILED)
    }
    const { id, type, tags, data } = event
    if (data === undefined)
      throw new Failed(`line ${number} has no data: import takes what fanwire export wrote`, FAILED)
    if (event.encoding !== undefined)
      throw new Failed(`line ${number} has bytes (encoding base64), which can not be imported yet`, FAILED)
    yield {
      channel,
      data,
      ...(id !== undefined && { idempotencyKey: `import:${id}` }),
      ...(type !== undefined && { type }),
      ...(tags !== undefined && { tags }),
    }
  }
}
