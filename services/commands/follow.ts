// `fanwire follow`: prints the events of channels, and survives restarts of nodes.

import { WebSocket } from 'ws'
import { connect } from '../../client/fanwire.ts'
import { FanwireError, Unauthorized } from '../../client/errors.ts'
import { isPosition } from '../../client/position.ts'
import type { Subscription } from '../../client/subscription.ts'
import type { Event, Options, SubscribeOptions, Wire } from '../../client/types.ts'
import { parseTime } from '../broker/event/time.ts'
import { onStop } from '../signals.ts'
import { type Command, Failed, Misused, remark } from './command.ts'
import { warnOfGap } from './history.ts'
import {
  askNode,
  FAILED,
  failedBy,
  inWords,
  pathOf,
  REMOTE_HELP,
  type Remote,
  remoteArgs,
  writeLine,
} from './remote.ts'
import { eventsUntil } from './stream.ts'

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
  --until END      stops after the event at this position, before this time, or after the newest event at the start (head)
  --wire WIRE      ws, sse, stream, long-poll or poll, instead of the best one that works; --until reads over stream
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
    if (until !== undefined) return await followUntil(until, channels, values, remote)
    const options: Options = {
      WebSocket: WebSocket as unknown as NonNullable<Options['WebSocket']>,
      ...(wire !== undefined && { wires: [wire as Wire] }),
      ...(remote.token !== undefined && { getToken: () => giveToken() }),
    }
    const client = connect(remote.url, options)
    let why = ''
    let given = false
    // The client asks again if the node rejected the token: there is no other one.
    const giveToken = () => {
      if (given && client.state.name === 'connecting') throw new Unauthorized(why)
      given = true
      return remote.token
    }
    client.on('state', state => {
      if (state.name === 'connected') given = false
      if (state.name === 'waiting') {
        ;({ why } = state)
        remark(`${why}; trying again`)
      }
      if (state.name === 'unauthorized' || state.name === 'closed')
        for (const each of subscriptions) each.close()
    })
    const subscriptions = channels.map(channel => client.subscribe(channel, readOptions(values)))
    let stopped = false
    const off = onStop(['SIGINT'], () => {
      stopped = true
      client.close()
    })
    try {
      await Promise.all(subscriptions.map(each => printAll(each, remote)))
      const { state } = client
      if (state.name === 'unauthorized')
        throw failedBy(new FanwireError('FW_UNAUTHORIZED', state.why, 401), remote.token)
      if (state.name === 'closed' && !stopped)
        throw new Failed(`the node closed the connection, and wants no other one: ${state.why}`, FAILED)
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

type Values = { readonly [Name in keyof typeof OPTIONS]?: string }

function readOptions({ cursor, types, filter, every, newest }: Values) {
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

/** Prints what is before the end, and ends there, whatever a filter leaves out. */
async function followUntil(
  until: string,
  channels: readonly string[],
  { wire = 'stream', cursor = 'latest', types, filter, every, newest }: Values,
  remote: Remote,
): Promise<number> {
  if (wire !== 'stream') throw new Misused('--until reads over stream: leave out --wire')
  if (until !== 'head' && !isPosition(until) && parseTime(until) === undefined)
    throw new Misused(
      '--until is a position, such as m3k9zq-42, a time, such as 2027-01-31T12:00:00Z, or head',
    )
  const select = {
    ...(types !== undefined && { types }),
    ...(filter !== undefined && { filter }),
    ...(every !== undefined && { every }),
    ...(newest !== undefined && { newest }),
  }
  const stop = new AbortController()
  const off = onStop(['SIGINT'], () => stop.abort())
  try {
    await Promise.all(
      channels.map(async channel => {
        const end = until === 'head' ? await headOf(remote, channel) : until
        const stretch = { channel, cursor, until: end, ...select }
        for await (const line of eventsUntil(remote, stretch, stop.signal))
          await writeLine(isReadable(remote) ? inLine(JSON.parse(line) as Event) : line)
      }),
    )
    return 0
  } finally {
    off()
    stop.abort()
  }
}

/** The head now: on a resumed stream, `head` would be a later one. */
async function headOf(remote: Remote, channel: string): Promise<string> {
  return (await askNode<{ head: string }>(remote, pathOf(channel))).head
}

async function printAll(subscription: Subscription, remote: Remote): Promise<void> {
  subscription.on('gap', warnOfGap)
  for await (const event of subscription)
    await writeLine(isReadable(remote) ? inLine(event) : JSON.stringify(event))
}

const isReadable = ({ json }: Remote) => process.stdout.isTTY && !json
const inLine = (event: Event) => `${event.channel}  ${inWords(event)}`
