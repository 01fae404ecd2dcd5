// The parts of a request that a long-lived client keeps, the same on every wire.

import type { FastifyRequest } from 'fastify'
import type { Asker } from '../broker/access/asking.ts'
import type { Identity } from '../broker/access/identity.ts'
import type { FanwireError } from '../errors.ts'
import { addressOf } from '../http/address.ts'
import { askerOf } from '../http/asking.ts'
import { publishRefusalOf } from '../http/auth.ts'

export interface Arrival {
  /** The identity according to the request alone. */
  readonly identity: Identity
  /** Identifies the client's address. */
  readonly address: string
  /** Why the client may not publish, whatever its identity: it is a browser page of another origin. */
  readonly refusal: FanwireError | undefined
  /** The client as the application sees it; undefined if no hook is called. */
  readonly asker: Asker | undefined
}

/** Keeps no reference to the request. */
export function arrivalOf(request: FastifyRequest): Arrival {
  const { asking } = request.server.fanwire.access
  return {
    identity: request.identity,
    address: addressOf(request),
    refusal: publishRefusalOf(request),
    asker: asking && askerOf(request),
  }
}
