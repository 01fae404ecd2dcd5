// The methods of the server API, by name.

import type { FastifyRequest } from 'fastify'
import { type Draft, jsonData } from '../../broker/event/event.ts'
import { readersIn } from '../../broker/control/questions.ts'
import { elements, memberOf, members } from '../../broker/event/json-spans.ts'
import { checkedChannel, checkedIdempotencyKey } from '../../broker/event/names.ts'
import { tagsOf } from '../../broker/event/tags.ts'
import { userFault } from '../../broker/access/claims.ts'
import { patternFault } from '../../broker/rules/patterns.ts'
import { quote } from '../../errors.ts'
import { partyOf } from '../../http/address.ts'
import { clear, sendToAll } from '../../http/audit.ts'
import type { Context } from '../../http/context.ts'
import { badRequest, notSupported, requireSize } from './codes.ts'
import { historyOf, presenceOf, presenceStatsOf } from './history.ts'
import { dataOfBytes } from './protobuf.ts'
import type { Reply, Request } from './protocol.ts'

export interface Call {
  readonly request: FastifyRequest
  readonly context: Context
  readonly json: Buffer
  readonly params: Request
  /** Runs another call, for a batch or a broadcast. */
  run(method: string, json: Buffer): Promise<Reply>
}

type Run = (call: Call) => Promise<Reply>

/** The maximum channels or calls of one request. */
const MOST = 1000

export const API_METHODS: ReadonlyMap<string, Run> = new Map<string, Run>([
  ['publish', publish],
  ['broadcast', broadcast],
  ['batch', batch],
  ['unsubscribe', unsubscribe],
  ['disconnect', disconnect],
  ['presence', ({ context, request, params }) => presenceOf(context, request.identity, params)],
  ['presence_stats', ({ context, request, params }) => presenceStatsOf(context, request.identity, params)],
  ['history', ({ context, request, params }) => historyOf(context, request.identity, params)],
  ['history_remove', removeHistory],
  ['channels', channels],
  ['info', info],
  ['subscribe', unsupported('clients subscribe themselves, or by the claim subs of their token')],
  ['refresh', unsupported('a connection lasts as long as its token')],
  ['rpc', unsupported('there are no procedures to call')],
])

function unsupported(why: string): Run {
  return async () => {
    throw notSupported(why)
  }
}

// Publishing --------------------------------------------------------------------------------------------------

async function publish(call: Call): Promise<Reply> {
  return publishTo(call, call.params.channel, draftOf(call))
}

async function publishTo({ context, request }: Call, name: unknown, draft: Draft): Promise<Reply> {
  const channel = checkedChannel(name)
  const { position } = await context.publisher.publish(channel, draft, partyOf(request))
  return position === undefined ? {} : { offset: position.offset, epoch: position.epoch }
}

async function broadcast(call: Call): Promise<Reply> {
  const names = call.params.channels
  if (!Array.isArray(names) || names.length > MOST)
    throw badRequest(`channels must be a list of up to ${MOST} channels`)
  draftOf(call)
  const responses = await Promise.all(
    names.map(name => call.run('publish', entryOf(call.json, String(name)))),
  )
  return { responses }
}

/** The same publish to one channel. */
function entryOf(json: Buffer, channel: string): Buffer {
  const kept = [...members(json)].filter(({ name }) => name !== 'channels' && name !== 'channel')
  const pieces = kept.map(({ name, start, end }) =>
    Buffer.concat([Buffer.from(`,${JSON.stringify(name)}:`), json.subarray(start, end)]),
  )
  return Buffer.concat([Buffer.from(`{"channel":${JSON.stringify(channel)}`), ...pieces, Buffer.from('}')])
}

/** The draft of a publish. Raises FW_BAD_COMMAND, FW_BAD_TAG, FW_BAD_IDEMPOTENCY_KEY, FW_TOO_LARGE, FW_NOT_SUPPORTED. */
function draftOf({ json, params, context }: Call): Draft {
  const { tags, idempotency_key: key, skip_history: skip = false, version = 0 } = params
  if (version !== 0) throw notSupported('versions of publications are not supported')
  if (typeof skip !== 'boolean') throw badRequest('skip_history must be true or false')
  const data = dataOf(json, params)
  requireSize(data, context.config.maxBody)
  return {
    ...data,
    ...(tags === undefined || tags === null ? {} : { tags: tagsOf(tags) }),
    ...(key === undefined || key === '' ? {} : { idempotencyKey: checkedIdempotencyKey(key) }),
    ...(skip ? { transient: true } : {}),
  }
}

function dataOf(json: Buffer, { b64data }: Request): Pick<Draft, 'data' | 'encoding'> {
  if (typeof b64data === 'string' && b64data !== '') {
    return dataOfBytes(Buffer.from(b64data, 'base64'))
  }
  const data = memberOf(json, 'data')
  const checked = data && jsonData(Buffer.from(data))
  if (checked === undefined) throw badRequest('data or b64data is missing')
  return { data: checked }
}

async function batch({ json, params, run }: Call): Promise<Reply> {
  const { commands } = params
  const list = memberOf(json, 'commands')
  if (!Array.isArray(commands) || list === undefined || commands.length > MOST)
    throw badRequest(`commands must be a list of up to ${MOST} calls`)
  const replies: Reply[] = []
  for (const each of elements(list)) {
    const [call] = members(each)
    if (call === undefined) throw badRequest('a call of a batch is {"publish":{…}}')
    const { error, result } = await run(call.name, each.subarray(call.start, call.end))
    replies.push(error === undefined ? { [call.name]: result } : { error })
  }
  return { replies }
}

// Control -----------------------------------------------------------------------------------------------------

function userOf({ user }: Request): string {
  if (typeof user === 'string' && user !== '' && userFault(user) === undefined) return user
  throw badRequest('user must be the name of a user')
}

async function unsubscribe({ context, request, params }: Call): Promise<Reply> {
  const user = userOf(params)
  const channel = checkedChannel(params.channel)
  context.access.require(request.identity, 'admin', channel)
  await sendToAll(request, 'unsubscribe', { user, channel })
  return {}
}

async function disconnect({ context, request, params }: Call): Promise<Reply> {
  const user = userOf(params)
  context.access.require(request.identity, 'admin')
  const { client } = params
  await sendToAll(
    request,
    'disconnect',
    typeof client === 'string' && client !== '' ? { user, client } : { user },
  )
  return {}
}

async function removeHistory({ context, request, params }: Call): Promise<Reply> {
  const channel = checkedChannel(params.channel)
  context.access.require(request.identity, 'admin', channel)
  await clear(request, channel)
  return {}
}

async function channels({ context, request, params }: Call): Promise<Reply> {
  context.access.require(request.identity, 'admin')
  const { pattern = '' } = params
  if (typeof pattern !== 'string') throw badRequest('pattern must be a string')
  const match = pattern === '' ? '*' : pattern
  const fault = patternFault(match)
  if (fault !== undefined) throw badRequest(`the pattern ${quote(match)} ${fault}`)
  const { entries } = await context.questions.ask('channels', { match }, { limit: MOST })
  const counted = entries.map(entry => [entry.key, { num_clients: readersIn([entry]) }])
  return { channels: Object.fromEntries(counted) }
}

async function info({ context, request }: Call): Promise<Reply> {
  context.access.require(request.identity, 'admin')
  const nodes = context.nodes.list().map(({ id, host, pid, version, connections, channels, started }) => ({
    uid: id,
    name: `${host}_${pid}`,
    version,
    num_clients: connections,
    num_channels: channels,
    uptime: Math.floor((Date.now() - started) / 1000),
  }))
  return { nodes }
}
