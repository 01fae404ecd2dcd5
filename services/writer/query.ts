// The query parameters of a publish.

import type { FastifyRequest } from 'fastify'
import { FanwireError } from '../errors.ts'

/** The parameters by name. Raises FW_BAD_PARAMETER where one is not of `known`, or there twice. */
export function checkedQuery<Name extends string>(
  request: FastifyRequest,
  known: readonly Name[],
): Partial<Record<Name, string>> {
  const query = request.query as Record<string, string | string[]>
  const checked: Partial<Record<Name, string>> = {}
  for (const [key, value] of Object.entries(query)) {
    const name = known.find(each => each === key)
    if (name === undefined) {
      const may = known.length === 0 ? 'there are none here' : `known are ${known.join(', ')}`
      throw new FanwireError('FW_BAD_PARAMETER', `unknown parameter; ${may}`)
    }
    if (typeof value !== 'string')
      throw new FanwireError('FW_BAD_PARAMETER', `${name} is there more than once`)
    checked[name] = value
  }
  return checked
}
