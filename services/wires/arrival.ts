// What is kept of the request with which a client arrived, the same for every wire with long-lived clients.

import type { FastifyRequest } from 'fastify'
import type { Asker } from '../broker/access/asking.ts'
import type { Identity } from '../broker/access/identity.ts'
import type { FanwireError } from '../errors.ts'
import { addressOf } from '../http/address.ts'
import { askerOf } from '../http/asking.ts'
import { publishRefusalOf } from '../http/auth.ts'

export interface Arrival {
  /** Its identity by the request alone. */
  readonly identity: Identity
  /** Identifies its address. */
  readonly address: string
  /** Why it may not publish, whatever its identity: a browser page of another origin. */
  readonly refusal: FanwireError | undefined
  /** The client as the application sees it; undefined if no hook is called. */
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
