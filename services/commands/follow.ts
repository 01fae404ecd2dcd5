// `fanwire follow`: prints the events of channels, and survives restarts of nodes.

import { WebSocket } from 'ws'
import { connect } from '../../client/fanwire.ts'
import { FanwireError } from '../../client/errors.ts'
import { isPosition, reaches } from '../../client/position.ts'
import type { Subscription } from '../../client/subscription.ts'
import type { Options, SubscribeOptions, Wire } from '../../client/types.ts'
import { onStop } from '../signals.ts'
import { type Command, Misused, remark } from './command.ts'
import {
  askNode,
  failedBy,
  inWords,
  pathOf,
  REMOTE_HELP,
  type Remote,
  remoteArgs,
  writeLine,
} from './remote.ts'

const OPTIONS = {
  wire: { type: 'string' },
  cursor: { type: 'string' },
  until: { type: 'string' },
  filter: { type: 'string' },
  types: { type: 'string' },
  every: { type: 'string' },
  newest: { type: 'string' },
} as const

const WIRES: readonly string[] = ['ws', 'sse', 'stream', 'long-poll', 'poll']

export const follow: Command = {
  help: `fanwire follow CHANNEL…: prints events as they arrive, and reconnects by itself when the connection breaks

  --cursor CURSOR  where to begin: latest (the default), earliest, last:20, since:TIME, or a position
  --until POSITION stops after this event; head: after the newest one at the start
  --wire WIRE      ws, sse, stream, long-poll or poll, instead of the best one that works
  --types A,B      only events of these types
  --filter JSON    only events whose tags match
  --every TIME, --newest type|tag:NAME   fewer events: see docs, Filters
${REMOTE_HELP}

Prints readable lines on a terminal, and NDJSON into a pipe: the objects that every wire delivers.
Example: fanwire follow orders --cursor earliest --until head | jq .data`,

  async run(args) {
    const { values, positionals: channels, remote } = remoteArgs(args, OPTIONS)
    if (channels.length === 0) throw new Misused('name a channel')
    const { wire, until } = values
    if (wire !== undefined && !WIRES.includes(wire)) throw new Misused(`--wire is one of ${WIRES.join(', ')}`)
    if (until !== undefined && until !== 'head' && !isPosition(until))
      throw new Misused('--until is a position, such as m3k9zq-42, or head')
    const ends = await Promise.all(channels.map(channel => endOf(remote, channel, until)))
    const options: Options = {
      WebSocket: WebSocket as unknown as NonNullable<Options['WebSocket']>,
      ...(wire !== undefined && { wires: [wire as Wire] }),
      ...(remote.token !== undefined && { getToken: () => remote.token }),
    }
    const client = connect(remote.url, options)
    client.on('state', state => {
      if (state.name === 'waiting') remark(`${state.why}; trying again`)
      if (state.name === 'unauthorized' || state.name === 'closed')
        for (const each of subscriptions) each.close()
    })
    const subscriptions = channels.map(channel => client.subscribe(channel, readOptions(values)))
    const close = () => client.close()
    const off = onStop(['SIGINT'], close)
    process.stdout.once('error', close)
    try {
      await Promise.all(subscriptions.map((each, i) => printAll(each, ends[i], remote)))
      const { state } = client
      if (state.name === 'unauthorized')
        throw failedBy(new FanwireError('FW_UNAUTHORIZED', state.why, 401), remote.token)
      return 0
    } catch (error) {
      if (error instanceof FanwireError) throw failedBy(error, remote.token)
      throw error
    } finally {
      off()
      client.close()
    }
  },
}

function readOptions(values: {
  cursor?: string
  types?: string
  filter?: string
  every?: string
  newest?: string
}) {
  const { cursor, types, filter, every, newest } = values
  return {
    ...(cursor !== undefined && { cursor }),
    ...(types !== undefined && { types: types.split(',') }),
    ...(filter !== undefined && { filter: parseFilter(filter) }),
    ...(every !== undefined && { every }),
    ...(newest !== undefined && { newest }),
  } satisfies SubscribeOptions
}

function parseFilter(text: string): object {
  try {
    return JSON.parse(text) as object
  } catch {
    throw new Misused('--filter is not JSON')
  }
}

async function endOf(
  remote: Remote,
  channel: string,
  until: string | undefined,
): Promise<string | undefined> {
  if (until !== 'head') return until
  const { head } = await askNode<{ head: string }>(remote, pathOf(channel))
  return head
}

async function printAll(
  subscription: Subscription,
  end: string | undefined,
  { json }: Remote,
): Promise<void> {
  const readable = process.stdout.isTTY && !json
  subscription.on('gap', ({ channel, from, to }) =>
    remark(`events of ${channel} after ${from}, up to ${to}, may be lost`),
  )
  if (end?.endsWith('-0')) return
  for await (const event of subscription) {
    await writeLine(readable ? `${event.channel}  ${inWords(event)}` : JSON.stringify(event))
    if (end !== undefined && event.id !== undefined && reaches(event.id, end)) return
  }
}
