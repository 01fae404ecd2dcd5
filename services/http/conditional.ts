// What caches may keep, and conditional requests (RFC 9110 section 13).

import type { FastifyRequest } from 'fastify'

const FOR_EVER = 'public, max-age=31536000, immutable'

export const EVENT_TYPE = 'application/json; charset=utf-8'

/** Headers of a single event: it never changes. */
export function caching(id: string) {
  return { etag: `"${id}"`, 'cache-control': FOR_EVER }
}

/** Whether the client has what `etag` stands for, by weak comparison. */
export function isKnown({ headers }: FastifyRequest, etag: string): boolean {
  const known = headers['if-none-match']?.split(',').map(each => each.trim().replace(/^W\//, ''))
  return known?.some(each => each === etag || each === '*') ?? false
}
