// Reads a small JSON object from the body of a request, and checks the names of its members.

import type { FastifyRequest } from 'fastify'
import { withoutMark } from '../broker/event/json-spans.ts'
import { isObject, parseJson } from '../broker/event/json-values.ts'
import type { TObject } from './schema.ts'
import { FanwireError, quote } from '../errors.ts'
import { type BodyTimes, wholeBody } from './body.ts'
import { mediaType } from './content-type.ts'

const LARGEST_BODY_BYTES = 64 * 1024
const TIMES: BodyTimes = { idle: 10_000, total: 30_000 }

/** Members whose values are not checked yet. */
export type Members<S extends TObject> = { readonly [N in keyof S['properties']]?: unknown }

/**
 * The members of the object in the body; an empty body has none. Raises FW_BAD_PARAMETER for a member that is not in
 * the schema, FW_MEDIA_TYPE, FW_BAD_ENCODING, FW_BAD_JSON, FW_TOO_LARGE, FW_REQUEST_TIMEOUT, FW_BAD_REQUEST.
 */
export async function jsonMembers<S extends TObject>(
  request: FastifyRequest,
  schema: S,
): Promise<Members<S>> {
  const tooLarge = `the body may have at most ${LARGEST_BODY_BYTES} bytes`
  const body = await wholeBody(request, LARGEST_BODY_BYTES, tooLarge, TIMES)
  if (body.length === 0) return {}
  if (mediaType(request) !== 'application/json') {
    throw new FanwireError('FW_MEDIA_TYPE', 'send application/json')
  }
  const value = parseJson(withoutMark(body), 'the body')
  if (!isObject(value)) {
    throw new FanwireError('FW_BAD_PARAMETER', 'the body is not a JSON object')
  }
  const names = Object.keys(schema.properties)
  const unknown = Object.keys(value).find(name => !names.includes(name))
  if (unknown === undefined) return value as Members<S>
  throw new FanwireError(
    'FW_BAD_PARAMETER',
    `unknown member ${quote(unknown)}: the body takes ${names.join(', ') || 'none'}`,
  )
}
