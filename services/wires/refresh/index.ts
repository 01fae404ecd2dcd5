// A page that reloads itself: GET /v1/refresh. The newest events as HTML without JavaScript, for any browser. Its
// cursor is in the URL to which it reloads, and marks what is new since the last view.

import type { FastifyInstance, FastifyRequest } from 'fastify'
import { FanwireError } from '../../errors.ts'
import { askToRead } from '../../http/asking.ts'
import { reusableParametersOf, ticketOf } from '../../http/auth.ts'
import type { Pages } from '../../broker/fanout/glance.ts'
import { type News, newestOfAll } from '../../broker/fanout/newest.ts'
import { printCursor, type Start } from '../../broker/event/position.ts'
import { CONTENT_POLICY, renderPage } from './page.ts'
import { glanceFor, selectionsFor } from '../open-for.ts'
import { matches, policyFor, tagOf } from '../../http/conditional.ts'
import { operation, whole } from '../../http/operation.ts'
import { readParameters, readQuery } from '../read-query.ts'

const QUERY = readParameters({
  limit: whole(1, 1000, 50, 'maximum number of events on the page'),
  every: whole(1, 3600, 5, 'seconds until the page reloads itself'),
})

const schema = operation({
  summary: 'A page that reloads itself, without JavaScript',
  tag: 'read',
  query: QUERY,
  answers: {
    200: { description: 'the newest events', type: 'text/html' },
    304: { description: 'nothing new' },
  },
})

/** The parameters that a page repeats when it reloads. */
function asked(values: { types?: string[]; filter?: string[]; newest?: string }): [string, string][] {
  const { types = [], filter = [], newest } = values
  return [
    ...types.map((each): [string, string] => ['types', each]),
    ...filter.map((each): [string, string] => ['filter', each]),
    ...(newest === undefined ? [] : [['newest', newest] satisfies [string, string]]),
  ]
}

/** The additional life of a ticket after the reload interval, for slow browsers, ms. */
const RELOADS_WITHIN_MS = 30_000

export async function refresh(app: FastifyInstance): Promise<void> {
  const { config, hub, access, tickets, presence } = app.fanwire
  const rules = {
    begin: 'latest',
    maxChannels: config.maxChannels,
    query: QUERY,
  } as const
  const stats = hub.connections.wires.of('refresh')
  const options = { schema, config: { page: true, claims: true }, exposeHeadRoute: true } as const

  /** A ticket for the next reload of a page that used one up; undefined if it did not. */
  async function nextTicket(request: FastifyRequest, every: number): Promise<string | undefined> {
    const { claims, method } = request
    // HEAD loads no page that could reload.
    if (claims === undefined || method === 'HEAD' || ticketOf(request) === undefined) return undefined
    return (await tickets.issue(claims, every * 1000 + RELOADS_WITHIN_MS)).ticket
  }

  function requireTimely(request: FastifyRequest, every: number): void {
    const longest = Math.floor((tickets.longest - RELOADS_WITHIN_MS) / 1000)
    if (every <= longest || ticketOf(request) === undefined) return
    throw new FanwireError(
      'FW_BAD_PARAMETER',
      `a page opened with a ticket has to reload within ${longest} s: FANWIRE_IDEMPOTENCY_WINDOW, less 30 s`,
    )
  }

  app.get('/v1/refresh', options, async (request, reply) => {
    const { values, ...wanted } = readQuery(request, rules)
    const { channels, starts } = wanted
    if (access.asking !== undefined) await askToRead(request, wanted)
    const { identity } = request
    const selections = selectionsFor({ access, identity }, wanted)
    const { limit, every } = values
    requireTimely(request, every)
    const look = (opened: Pages[]) =>
      newestOfAll(
        opened.map((channel, i) => ({ channel, start: starts[i] as Start, selection: selections[i] })),
        limit,
      )
    const news: News[] = await glanceFor({ hub, access, identity }, wanted, look)

    presence.visit(request.identity, channels)
    const next = new URLSearchParams()
    for (const channel of channels) next.append('channel', channel)
    next.append('every', `${every}`)
    next.append('limit', `${limit}`)
    for (const [name, value] of asked(values)) next.append(name, value)
    next.append('cursor', printCursor(news.map(each => each.head)))
    const ticket = await nextTicket(request, every)
    const credentials = reusableParametersOf(request)
    if (ticket !== undefined) credentials.push(['ticket', ticket])
    for (const [name, value] of credentials) next.append(name, value)
    const page = renderPage({ channels, news, limit, every, next: `?${next}` })
    const tag = `"${tagOf(page)}"`
    reply.headers({
      refresh: `${every}; url=?${next}`,
      'cache-control': credentials.length === 0 ? policyFor(request, 'no-cache') : 'no-store',
      etag: tag,
      'content-security-policy': CONTENT_POLICY,
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
    })
    if (matches(request.headers['if-none-match'], tag)) return reply.code(304).send()
    for (const { fresh, gaps } of news) {
      stats.deliveries += fresh
      stats.gaps += gaps.length
    }
    return reply.type('text/html; charset=utf-8').send(page)
  })
}
