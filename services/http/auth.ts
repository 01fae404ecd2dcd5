// Who may publish: whoever has one of the keys, if there are any.

import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { FanwireError } from '../errors.ts'

declare module 'fastify' {
  interface FastifyInstance {
    isPublishKey(authorization: string | undefined): boolean
    readonly requirePublishKey: typeof requirePublishKey
  }
}

/** A predicate over `Authorization` headers. Takes as long whatever it is given, and keeps no key. */
export function keyCheck(keys: readonly string[]): (authorization: string | undefined) => boolean {
  if (keys.length === 0) return () => true
  const salt = randomBytes(32)
  const digest = (key: string) => createHmac('sha256', salt).update(key).digest()
  const digests = keys.map(digest)
  return authorization => {
    const given = digest(/^Bearer +(\S+) *$/i.exec(authorization ?? '')?.[1] ?? '')
    let known = false
    for (const each of digests) known = timingSafeEqual(each, given) || known
    return known
  }
}

/** Whether the request carries a publish key, or needs none. */
export function mayPublish(request: FastifyRequest): boolean {
  return request.server.isPublishKey(request.headers.authorization)
}

/** An onRequest hook, so that the body is not read. Raises FW_UNAUTHORIZED. */
export async function requirePublishKey(request: FastifyRequest): Promise<void> {
  if (mayPublish(request)) return
  const none = request.headers.authorization === undefined
  throw new FanwireError(
    'FW_UNAUTHORIZED',
    none ? 'publishing needs a key: send Authorization: Bearer <key>' : 'this is not a publish key',
  )
}

export const auth = fp(
  async app => {
    app.decorate('isPublishKey', keyCheck(app.fanwire.config.publishKeys))
    app.decorate('requirePublishKey', requirePublishKey)
  },
  { name: 'fanwire-auth', fastify: '5.x' },
)
