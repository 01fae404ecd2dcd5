// A client as it came: what is kept of the request with which it did, the same for every wire whose clients stay.

import type { FastifyRequest } from 'fastify'
import type { Asker } from '../broker/access/asking.ts'
import type { Identity } from '../broker/access/identity.ts'
import type { FanwireError } from '../errors.ts'
import { addressOf } from '../http/address.ts'
import { askerOf } from '../http/asking.ts'
import { publishRefusalOf } from '../http/auth.ts'

export interface Arrival {
  /** Who it is by its request alone. */
  readonly identity: Identity
  /** What stands for its address. */
  readonly address: string
  /** Why it may not publish, whoever it is: a browser page of another origin. */
  readonly refusal: FanwireError | undefined
  /** What the application is shown of it; undefined where nobody asks the application. */
  readonly asker: Asker | undefined
}

/** Does not hold on to the request. */
export function arrivalOf(request: FastifyRequest): Arrival {
  const { asking } = request.server.fanwire.access
  return {
    identity: request.identity,
    address: addressOf(request),
    refusal: publishRefusalOf(request),
    asker: asking && askerOf(request),
  }
}
