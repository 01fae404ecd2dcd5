// The topics that a subscriber requests, and the update after which it begins.

import { isUtf8 } from 'node:buffer'
import type { FastifyRequest } from 'fastify'
import { type MatchType, topicMatcher, type TopicMatcher } from '../../broker/event/topics.ts'
import { FanwireError, quote } from '../../errors.ts'
import { text, texts } from '../../http/operation.ts'
import { checkedQuery } from '../../http/query.ts'
import { Type } from '../../http/schema.ts'

export interface Wanted {
  /** Without duplicates. */
  readonly matchers: readonly TopicMatcher[]
  /** The update after which it begins, or `earliest`; undefined if it begins with new updates. */
  readonly after: string | undefined
}

export const QUERY = Type.Object({
  topic: texts('0.x: a topic, a URI template, or *'),
  match: texts('1.0: a topic, or *'),
  match_exact: texts('the same'),
  match_urlpattern: texts('1.0: a URL pattern, or *'),
  lastEventID: text('0.x: in place of the header Last-Event-ID'),
  last_event_id: text('1.0: the same'),
  'Last-Event-ID': text('0.x: the same'),
  authorization: text('0.x: a token, with FANWIRE_TOKEN_QUERY=1'),
  '<name>': texts('any other parameter is ignored'),
})

const TYPES: Readonly<Record<string, MatchType>> = {
  topic: 'template',
  match: 'exact',
  match_exact: 'exact',
  match_urlpattern: 'urlpattern',
}
const AFTER = ['last_event_id', 'lastEventID', 'Last-Event-ID'] as const

/** Raises FW_BAD_PARAMETER, FW_TOO_MANY_CHANNELS. */
export function wantedBy(request: FastifyRequest): Wanted {
  const query = checkedQuery(request, QUERY) as Readonly<Record<string, unknown>>
  const found = new Map<string, TopicMatcher>()
  for (const [name, values] of Object.entries(query)) {
    const type = Object.hasOwn(TYPES, name) ? TYPES[name] : undefined
    if (type === undefined && /^match/i.test(name))
      throw new FanwireError('FW_BAD_PARAMETER', `${quote(name)}: topics are matched by ${known()}`)
    if (type === undefined) continue
    for (const value of values as readonly string[]) found.set(`${type} ${value}`, topicMatcher(type, value))
  }
  const most = request.server.fanwire.config.maxChannels
  if (found.size === 0)
    throw new FanwireError('FW_BAD_PARAMETER', 'name at least one topic: ?topic=… or ?match=…')
  if (found.size > most)
    throw new FanwireError('FW_TOO_MANY_CHANNELS', `one subscriber may name at most ${most} topics`)
  const named = AFTER.map(name => query[name] as string | undefined).find(Boolean)
  const header = request.headers['last-event-id']?.toString() ?? ''
  return { matchers: [...found.values()], after: decoded(header) || named }
}

/** Node decodes headers as Latin-1, while EventSource sends ids in UTF-8. */
function decoded(header: string): string {
  const bytes = Buffer.from(header, 'latin1')
  return isUtf8(bytes) ? bytes.toString() : header
}

function known(): string {
  return Object.keys(TYPES).join(', ')
}

/** Literal topics, without templates and patterns: rights to these are checked like rights to channels. */
export function namedTopics(matchers: readonly TopicMatcher[]): string[] {
  const named = matchers.filter(
    ({ type, text }) => text !== '*' && type !== 'urlpattern' && !text.includes('{'),
  )
  return [...new Set(named.map(({ text }) => text))]
}
