// POST /v1/events: many events, as one JSON text or as a stream of NDJSON lines.

import { setTimeout } from 'node:timers/promises'
import type { FastifyPluginAsync, FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify'
import { FanwireError } from '../../errors.ts'
import { LAPSED } from '../../broker/access/access.ts'
import { partyOf } from '../../http/address.ts'
import { requirePublishOrigin } from '../../http/auth.ts'
import { Type } from '../../http/schema.ts'
import { NO_PARAMETERS, operation } from '../../http/operation.ts'
import { checkedQuery } from '../../http/query.ts'
import { type BodyTimes, wholeBody } from '../../http/body.ts'
import { Entries } from './entries.ts'
import { parseEnvelope } from './envelope.ts'
import { mediaType, requireMedia } from '../../http/content-type.ts'
import { Upload } from './ndjson-stream.ts'

const NDJSON = 'application/x-ndjson'
const MEDIA: ReadonlySet<string> = new Set([
  'application/json',
  NDJSON,
  'application/ndjson',
  'application/jsonl',
])
const SEND = `application/json ({"events":[…]}) or ${NDJSON} (one entry a line)`

const ENTRY = Type.Object({
  channel: Type.Optional(Type.String()),
  channels: Type.Optional(Type.Array(Type.String())),
  data: Type.Unknown(),
  type: Type.Optional(Type.String()),
  idempotencyKey: Type.Optional(Type.String()),
  priority: Type.Optional(Type.String({ enum: ['high', 'low'] })),
  encoding: Type.Optional(
    Type.String({ enum: ['base64'], description: 'data is a string that holds bytes' }),
  ),
})

const schema = operation({
  summary: 'Publish many events, as one JSON text or as a stream of lines',
  tag: 'publish',
  body: {
    'application/json': Type.Object({ events: Type.Array(ENTRY) }),
    [NDJSON]: Type.String({
      description: 'one entry per line; the response has one result per line, sent as soon as it is known',
    }),
  },
  answers: {
    200: {
      description: 'one result per entry, in order: a receipt, or an error with its index',
      schema: Type.Object({ results: Type.Array(Type.Unknown()) }),
    },
  },
})

/** Bytes of a whole JSON body: 8 events of the largest size, within these bounds; always at least one such event. */
const LEAST_LIMIT_BYTES = 8 * 2 ** 20
const MOST_LIMIT_BYTES = 64 * 2 ** 20
/** How long an upload may take to send its results when the node stops, ms. */
const PARTING_MS = 2000

export const bulk: FastifyPluginAsync<{ times: BodyTimes }> = async (app, { times }) => {
  const context = app.fanwire
  const { maxBody } = context.config
  const limit = Math.max(Math.min(8 * maxBody, MOST_LIMIT_BYTES), LEAST_LIMIT_BYTES, maxBody + 2 ** 16)
  const tooLarge = `a JSON body may have at most ${limit} bytes; send more as ${NDJSON}, one entry a line`
  /** Before the body is read; each entry is checked separately. */
  const requireSome: onRequestHookHandler = (request, _reply, next) => {
    requirePublishOrigin(request)
    context.access.requirePublisher(request.identity, 'send Authorization: Bearer …')
    next()
  }
  const onRequest = [requireSome, requireMedia(MEDIA, SEND)]
  const uploads = new Set<Upload>()

  app.post('/v1/events', { schema, onRequest }, async (request, reply) => {
    checkedQuery(request, NO_PARAMETERS)
    if (request.headers['idempotency-key'] !== undefined) {
      throw new FanwireError(
        'FW_BAD_IDEMPOTENCY_KEY',
        'each entry has its own idempotencyKey; remove the header',
      )
    }
    return mediaType(request) === 'application/json' ? whole(request, reply) : stream(request, reply)
  })

  async function whole(request: FastifyRequest, reply: FastifyReply) {
    const raw = await parseEnvelope(await wholeBody(request, limit, tooLarge, times))
    const results: string[] = []
    const fault = (err: unknown) => request.log.error({ reqId: request.id, err }, 'append failed')
    const entries = new Entries(context, partyOf(request), json => results.push(json), fault)
    for (const each of raw) {
      await entries.room()
      if (entries.lapsed) entries.refuse(new FanwireError('FW_UNAUTHORIZED', LAPSED))
      else entries.publish(each)
    }
    await entries.settled()
    if (entries.held === 0 && entries.failure !== undefined) throw entries.failure
    return reply.type('application/json; charset=utf-8').send(`{"results":[${results.join(',')}]}`)
  }

  async function stream(request: FastifyRequest, reply: FastifyReply) {
    const upload = new Upload(request, reply)
    uploads.add(upload)
    reply.raw.once('close', () => uploads.delete(upload))
    await upload.decided
    return reply.type(NDJSON).header('x-accel-buffering', 'no').send(upload.results)
  }

  const part = async () => {
    const parted = Promise.all([...uploads].map(upload => upload.part()))
    await Promise.race([parted, setTimeout(PARTING_MS, undefined, { ref: false })])
  }
  app.inFlight.partsWith(part)
  // For a close without a drain.
  app.addHook('preClose', part)
}
