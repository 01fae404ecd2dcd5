// Publishes an update: to the channels of its topics, and to the log of updates.

import type { FastifyRequest } from 'fastify'
import { type Draft, jsonData, textData } from '../../broker/event/event.ts'
import { checkedIdempotencyKey, isChannelName, isTypeName } from '../../broker/event/names.ts'
import { printPosition } from '../../broker/event/position.ts'
import { keyIn, updateData, type UpdateHead } from '../../broker/event/update.ts'
import { LogUnavailable } from '../../broker/log/log.ts'
import type { Rule } from '../../broker/rules/rules.ts'
import { FanwireError } from '../../errors.ts'
import { partyOf } from '../../http/address.ts'
import { wholeBody } from '../../http/body.ts'
import type { Context } from '../../http/context.ts'
import { type Form, formOf } from './form.ts'

/** The maximum bytes of a form, besides its data. */
const FORM_ROOM_BYTES = 64 * 1024
/** Percent-encoding makes data at most this many times longer. */
const MAX_ENCODED = 3

const QUOTE = 0x22

/** Returns the update's id. Raises FW_BAD_EVENT, FW_TOO_LARGE, and the errors of the publisher. */
export async function publish(context: Context, request: FastifyRequest): Promise<string> {
  const { publisher, access, config } = context
  const { maxBody, maxChannels } = config
  const limit = maxBody * MAX_ENCODED + FORM_ROOM_BYTES
  const form = formOf(await wholeBody(request, limit, `a form may have at most ${limit} bytes`), maxChannels)
  const { topics, text, id } = form
  if (Buffer.byteLength(text) > maxBody)
    throw new FanwireError('FW_TOO_LARGE', `data may have at most ${maxBody} bytes`)
  const by = partyOf(request)
  const draft = draftOf(form, request)
  // All topics are checked before anything is published.
  for (const topic of topics) publisher.require(by.identity, topic, draft.data.length)
  const approved: [topic: string, draft: Draft][] = []
  for (const topic of topics) approved.push([topic, await publisher.approve(topic, draft, by)])
  const events: (string | null)[] = []
  for (const [topic, each] of approved) {
    const hidden = form.private && isPublic(access.rules.open !== undefined, access.ruleOf(topic))
    const has = isChannelName(topic) && !hidden
    const position = has ? await publisher.put(topic, each, by.identity) : undefined
    events.push(position === undefined ? null : printPosition(position))
  }
  const [, canonical = draft] = approved[0] ?? []
  const exact = canonical.data === draft.data ? textOf(text) : canonical.data
  const { idempotencyKey: key } = canonical
  const update = {
    ...canonical,
    data: updateData({ ...headOf(form), events }, exact),
    ...(key === undefined ? {} : { idempotencyKey: keyIn(topics[0], key) }),
  }
  const [receipt] = await publisher.update([update], by.identity)
  if (receipt === undefined) throw new LogUnavailable('the log gave no receipt')
  return id ?? `#${printPosition(receipt.position)}`
}

/** The event of the topics' channels. JSON is published as JSON, except a JSON string, which stays text. */
function draftOf({ text, type }: Form, { headers }: FastifyRequest): Draft {
  const json = jsonData(Buffer.from(text))
  const key = headers['idempotency-key']
  return {
    data: json === undefined || json[0] === QUOTE ? textOf(text) : json,
    ...(isTypeName(type) ? { type } : {}),
    ...(key === undefined ? {} : { idempotencyKey: checkedIdempotencyKey(key) }),
  }
}

function textOf(text: string): Buffer {
  return textData(Buffer.from(text)) ?? Buffer.from('""')
}

function headOf({ topics, private: hidden, id, type, retry }: Form): UpdateHead {
  return {
    topics,
    ...(hidden ? { private: true } : {}),
    ...(id === undefined ? {} : { id }),
    ...(type === undefined || isTypeName(type) ? {} : { type }),
    ...(retry === undefined ? {} : { retry }),
  }
}

/** Whether clients without a grant may read the channel. */
function isPublic(open: boolean, { subscribe }: Rule): boolean {
  return open || subscribe.includes('anyone') || subscribe.includes('user')
}
