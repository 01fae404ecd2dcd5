// Who publishes: whoever has one of the keys, if there are any, and if it is a browser page, of an origin that may.

import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { FanwireError } from '../errors.ts'

/** Whose a publish is. */
export interface Identity {
  /**
   * What the log keeps idempotency keys by, so that nobody can use up another's. Empty for the anonymous; without
   * spaces, and never a secret.
   */
  readonly scope: string
}

/** Pages and others without a key. */
export const ANONYMOUS: Identity = { scope: '' }

/** Who publishes, or why nobody does. */
export type Publisher = Identity | 'FW_UNAUTHORIZED' | 'FW_FORBIDDEN_ORIGIN'

declare module 'fastify' {
  interface FastifyInstance {
    /** Who a client is, by the headers with which it came. */
    publisher(headers: IncomingHttpHeaders): Publisher
  }

  interface FastifyRequest {
    /** Set by `requirePublisher`. */
    publisher: Identity
  }
}

/** The identity by `kind` and a name that is unique in it. */
export function identityOf(kind: 'key', name: string): Identity {
  const hash = createHash('sha256').update(`fanwire ${kind} ${name}`).digest('base64url')
  return { scope: hash.slice(0, 16) }
}

/**
 * Who has a key, by `Authorization` headers; undefined: nobody. Takes as long whatever it is given, and keeps no key.
 */
export function keyOwners(
  keys: readonly string[],
): (authorization: string | undefined) => Identity | undefined {
  if (keys.length === 0) return () => ANONYMOUS
  const salt = randomBytes(32)
  const digest = (key: string) => createHmac('sha256', salt).update(key).digest()
  const owners = keys.map(key => ({ digest: digest(key), identity: identityOf('key', key) }))
  return authorization => {
    const given = digest(/^Bearer +(\S+) *$/i.exec(authorization ?? '')?.[1] ?? '')
    let found: Identity | undefined
    for (const owner of owners) found = timingSafeEqual(owner.digest, given) ? owner.identity : found
    return found
  }
}

export function mayPublish(publisher: Publisher): publisher is Identity {
  return typeof publisher === 'object'
}

/** Raises why nobody publishes. `keyGoes` says where a key belongs. */
export function checkedPublisher(publisher: Publisher, keyGoes: string): Identity {
  if (publisher === 'FW_UNAUTHORIZED') throw new FanwireError(publisher, `publishing needs a key: ${keyGoes}`)
  if (publisher !== 'FW_FORBIDDEN_ORIGIN') return publisher
  throw new FanwireError(
    publisher,
    'a browser page of this origin may not publish; FANWIRE_PUBLISH_ORIGINS lists those that may',
  )
}

/** An onRequest hook, so that the body is not read. Raises FW_UNAUTHORIZED, FW_FORBIDDEN_ORIGIN. */
export async function requirePublisher(request: FastifyRequest): Promise<void> {
  const { headers, server } = request
  const keyGoes =
    headers.authorization === undefined ? 'send Authorization: Bearer <key>' : 'this is not a publish key'
  request.publisher = checkedPublisher(server.publisher(headers), keyGoes)
}

export const auth = fp(
  async app => {
    const { origins } = app
    const ownerOf = keyOwners(app.fanwire.config.publishKeys)
    app.decorate('publisher', headers => {
      const { authorization, origin, host = headers[':authority']?.toString() } = headers
      if (origin !== undefined && !origins.mayPublish(origin, host)) return 'FW_FORBIDDEN_ORIGIN'
      return ownerOf(authorization) ?? 'FW_UNAUTHORIZED'
    })
    app.decorateRequest('publisher')
  },
  { name: 'fanwire-auth', dependencies: ['fanwire-origins'], fastify: '5.x' },
)
