// POST /v1/tickets: a ticket replaces a token once, for clients that can't send headers: EventSource, pages, WebSockets.

import type { FastifyRequest, onRequestHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import type { Claims } from '../broker/access/tokens.ts'
import { FanwireError } from '../errors.ts'
import { ticketOf } from '../http/auth.ts'
import { takeBodies } from '../http/body.ts'
import { jsonMembers } from '../http/json-members.ts'
import { Type } from '../http/schema.ts'
import { NO_PARAMETERS, operation } from '../http/operation.ts'
import { checkedQuery } from '../http/query.ts'

const schema = operation({
  summary: 'A ticket for the token of the request: valid once, where no header can be sent',
  tag: 'access',
  answers: {
    201: {
      description: 'the ticket',
      schema: Type.Object({ ticket: Type.String(), expires: Type.Integer({ description: 'ms since 1970' }) }),
    },
  },
})

/** The body is empty, whatever its content type, or the object `{}`. */
const NO_MEMBERS = Type.Object({})

/** The claims of the request's token. Raises FW_UNAUTHORIZED, FW_FORBIDDEN. */
function claimsOf(request: FastifyRequest): Claims {
  const { claims, identity } = request
  if (identity.kind === 'anonymous') {
    throw new FanwireError('FW_UNAUTHORIZED', 'a ticket replaces a token: send Authorization: Bearer <token>')
  }
  if (claims === undefined) {
    throw new FanwireError('FW_FORBIDDEN', 'a ticket replaces a token, not an API key: send a token', {
      challenge: 'insufficient_scope',
    })
  }
  // Otherwise anybody who saw the ticket in a URL could extend it.
  if (ticketOf(request) !== undefined) {
    throw new FanwireError(
      'FW_FORBIDDEN',
      'a ticket cannot be exchanged for another ticket: send the token',
      {
        challenge: 'insufficient_scope',
      },
    )
  }
  return claims
}

export const tickets = fp(
  async app => {
    // Runs before anything in the request is checked.
    const onRequest: onRequestHookHandler = (request, _reply, next) => {
      claimsOf(request)
      next()
    }
    await app.register(async app => {
      takeBodies(app)
      app.post('/v1/tickets', { schema, config: { claims: true }, onRequest }, async (request, reply) => {
        checkedQuery(request, NO_PARAMETERS)
        await jsonMembers(request, NO_MEMBERS)
        const issued = await app.fanwire.tickets.issue(claimsOf(request))
        return reply.code(201).header('cache-control', 'no-store').send(issued)
      })
    })
  },
  { name: 'fanwire-tickets', fastify: '5.x' },
)
