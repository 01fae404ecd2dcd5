// Cache policies, and conditional requests (RFC 9110 section 13).

import { createHash } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import type { LogEvent } from '../broker/event/event.ts'
import { printPosition } from '../broker/event/position.ts'
import type { Selection } from '../broker/fanout/selection.ts'
import { isStranger } from '../broker/access/identity.ts'

const FOR_EVER = 'max-age=31536000, immutable'
export const A_MOMENT = 'max-age=5'

export const EVENT_TYPE = 'application/json; charset=utf-8'

/** Whether a shared cache may give the response to others: the request had no credentials. */
export function isShared({ headers, identity }: FastifyRequest): boolean {
  return headers.authorization === undefined && isStranger(identity)
}

/** A cache policy that keeps responses to credentials out of shared caches (RFC 9111 section 5.2.2.7). */
export function policyFor(request: FastifyRequest, policy: string): string {
  return isShared(request) ? policy : `private, ${policy}`
}

/** Part of entity tags, since an erasure makes a cached body invalid. */
export function countErased(events: readonly LogEvent[]): number {
  return events.filter(({ kind }) => kind === 'erased').length
}

/**
 * Part of entity tags: which selections took which events. A client's rights can change with its token, and an erased
 * event loses its tags, so that a selection takes others. Undefined without selections.
 */
export function digestOfSelected(
  selections: readonly (Selection | undefined)[],
  events: readonly LogEvent[],
): string | undefined {
  if (selections.every(each => each === undefined)) return undefined
  const keys = selections.map(each => each?.key ?? '')
  return tagOf([...keys, ...events.map(printPosition)].join('\n'))
}

/** The entity tag of a single event, without its quotes. `id`: its position. */
export function tagOfEvent(id: string, erased: boolean): string {
  return erased ? `${id};erased` : id
}

/** Headers of a single event: it never changes, unless it may be erased. */
export function caching(tag: string, shared: boolean, erasable: boolean) {
  const age = erasable ? A_MOMENT : FOR_EVER
  return { etag: `"${tag}"`, 'cache-control': `${shared ? 'public' : 'private'}, ${age}` }
}

/** A strong entity tag (RFC 9110 section 8.8.3) of these bytes, without its quotes. */
export function tagOf(body: string | Uint8Array): string {
  return createHash('sha256').update(body).digest('base64url').slice(0, 22)
}

/** If-None-Match, compared weakly: RFC 9110 section 13.1.2. */
export function matches(header: string | undefined, tag: string): boolean {
  if (header === undefined) return false
  if (header.trim() === '*') return true
  return header.split(/,(?=\s*(?:W\/)?")/).some(each => each.trim().replace(/^W\//, '') === tag)
}
