// Calls the hooks that a request needs, if rules leave the decision to the application, before the route decides.

import { randomBytes } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import { type Asker, withWishes, readWishes, type Wish } from '../broker/access/asking.ts'
import type { Start } from '../broker/event/position.ts'
import { mayShowCookies, showableCookiesOf } from './cookies.ts'

const askers = new WeakMap<FastifyRequest, Asker>()

/** A request's client as the application sees it. */
export function askerOf(request: FastifyRequest): Asker {
  const known = askers.get(request)
  if (known !== undefined) return known
  const { route, server } = request
  const named = server.fanwire.access.asking?.headers ?? []
  const shown = [...named].flatMap(name => {
    const value = shownHeader(request, name)
    return value === undefined ? [] : [[name, String(value)]]
  })
  const asker = {
    client: randomBytes(12).toString('base64url'),
    transport: route.wire ?? 'http',
    headers: Object.fromEntries(shown) as Record<string, string>,
  }
  askers.set(request, asker)
  return asker
}

function shownHeader(request: FastifyRequest, name: string): string | string[] | undefined {
  if (name !== 'cookie') return request.headers[name]
  return mayShowCookies(request) ? showableCookiesOf(request) : undefined
}

/** Adds the application's grants to the request's identity. Raises FW_FORBIDDEN, FW_HOOK_FAILED. */
export async function askFor(request: FastifyRequest, wishes: Iterable<Wish>): Promise<void> {
  const { access } = request.server.fanwire
  request.identity = await withWishes(access, request.identity, wishes, () => askerOf(request))
}

/** Like `askFor`, for reads. */
export function askToRead(
  request: FastifyRequest,
  { channels, starts }: { readonly channels: readonly string[]; readonly starts: readonly Start[] },
): Promise<void> {
  return askFor(request, readWishes(channels, starts))
}
