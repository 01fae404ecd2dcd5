// The methods of the server API, by name.

import { setImmediate } from 'node:timers/promises'
import type { FastifyRequest } from 'fastify'
import { type Draft, jsonData } from '../../broker/event/event.ts'
import { channelsRead } from '../../broker/control/questions.ts'
import { elements, memberOf, members } from '../../broker/event/json-spans.ts'
import { checkedChannel, checkedIdempotencyKey } from '../../broker/event/names.ts'
import { tagsOf } from '../../broker/event/tags.ts'
import { userFault } from '../../broker/access/claims.ts'
import { patternFault } from '../../broker/rules/patterns.ts'
import { clientErrorOf } from '../../broker/log/client-error.ts'
import { FanwireError, quote } from '../../errors.ts'
import { partyOf } from '../../http/address.ts'
import { clear, sendToAll } from '../../http/audit.ts'
import type { Context } from '../../http/context.ts'
import { badRequest, errorReply, notSupported, requireSize } from './codes.ts'
import { historyOf, presenceOf, presenceStatsOf } from './history.ts'
import { parseObject } from './json.ts'
import { dataOfBytes } from './protobuf.ts'
import type { Reply, Request } from './protocol.ts'

interface Call {
  readonly request: FastifyRequest
  readonly context: Context
  readonly json: Buffer
  readonly params: Request
}

type Run = (call: Call) => Promise<Reply>

/** The maximum calls of a batch. */
const MOST_CALLS = 1000

const API_METHODS: ReadonlyMap<string, Run> = new Map<string, Run>([
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

/** Runs a call; `json` has its parameters. Returns coded errors as replies, but raises FW_UNAUTHORIZED. */
export function runCall(request: FastifyRequest, method: string, json: Buffer): Promise<Reply> {
  return replyOf(async () => {
    const run = API_METHODS.get(method)
    if (run === undefined) throw new FanwireError('FW_NOT_FOUND', 'unknown method')
    return run({ request, context: request.server.fanwire, json, params: parseObject(json) })
  })
}

async function replyOf(run: () => Promise<Reply>): Promise<Reply> {
  try {
    return { result: await run() }
  } catch (error) {
    const coded = clientErrorOf(error)
    if (coded === undefined || coded.code === 'FW_UNAUTHORIZED') throw error
    return { error: errorReply(coded) }
  }
}

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
  const { channels: names } = call.params
  const most = call.context.config.maxChannels
  if (!Array.isArray(names)) throw badRequest('channels must be a list of channels')
  if (names.length > most)
    throw new FanwireError('FW_TOO_MANY_CHANNELS', `a broadcast may go to at most ${most} channels`)
  const draft = draftOf(call)
  const responses: Reply[] = []
  for (const name of names) {
    responses.push(await replyOf(() => publishTo(call, name, draft)))
    // Other clients have their turns in between.
    await setImmediate()
  }
  return { responses }
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

function dataOf(json: Buffer, { b64data }: Request): Pick<Draft, 'data' | 'encoding' | 'sent'> {
  if (typeof b64data === 'string' && b64data !== '') {
    return dataOfBytes(Buffer.from(b64data, 'base64'))
  }
  const data = memberOf(json, 'data')
  const checked = data && jsonData(Buffer.from(data))
  if (checked === undefined) throw badRequest('data or b64data is missing')
  return { data: checked }
}

async function batch({ request, json, params }: Call): Promise<Reply> {
  const { commands } = params
  const list = memberOf(json, 'commands')
  if (!Array.isArray(commands) || list === undefined || commands.length > MOST_CALLS)
    throw badRequest(`commands must be a list of up to ${MOST_CALLS} calls`)
  // All calls are checked before any is run.
  const calls = Array.from(elements(list), each => {
    const [call] = members(each)
    if (call === undefined) throw badRequest('a call of a batch is {"publish":{…}}')
    if (call.name === 'batch') throw badRequest('a batch contains no batches')
    return { method: call.name, json: each.subarray(call.start, call.end) }
  })
  const replies: Reply[] = []
  for (const { method, json } of calls) {
    const { error, result } = await runCall(request, method, json)
    replies.push(error === undefined ? { [method]: result } : { error })
    await setImmediate()
  }
  return { replies }
}

// Control -----------------------------------------------------------------------------------------------------

function userOf({ user }: Request): string {
  if (typeof user === 'string' && user !== '' && userFault(user) === undefined) return user
  throw badRequest('user must be the name of a user')
}

/** Raises FW_NOT_SUPPORTED if one of these parameters is set. */
function refuse(params: Request, ...names: readonly string[]): void {
  for (const name of names) {
    const value = params[name]
    const isUnset = value === undefined || value === null || value === ''
    if (!isUnset && !(Array.isArray(value) && value.length === 0))
      throw notSupported(`the parameter ${name} is not supported`)
  }
}

async function unsubscribe({ context, request, params }: Call): Promise<Reply> {
  const user = userOf(params)
  const channel = checkedChannel(params.channel)
  refuse(params, 'client', 'session')
  context.access.require(request.identity, 'admin', channel)
  await sendToAll(request, 'unsubscribe', { user, channel })
  return {}
}

async function disconnect({ context, request, params }: Call): Promise<Reply> {
  const user = userOf(params)
  refuse(params, 'session', 'whitelist', 'disconnect')
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
  const found: [string, object][] = []
  for await (const [channel, readers] of channelsRead(context.questions, match))
    found.push([channel, { num_clients: readers }])
  return { channels: Object.fromEntries(found) }
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
