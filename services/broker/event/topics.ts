// Mercure's topic matchers: a text, a URI template (RFC 6570), a URL pattern, or `*`. Matching takes at most quadratic time
// in the length of a topic, for all matchers that are accepted.

import { URLPattern } from 'urlpattern-polyfill/urlpattern'
import { FanwireError, quote } from '../../errors.ts'
import { ownCopy } from './names.ts'
import { parseTemplate } from './uri-template.ts'

/** `template` matches the text itself, or an expansion of the text as a URI template. */
export type MatchType = 'exact' | 'urlpattern' | 'template'

export interface TopicMatcher {
  readonly type: MatchType
  readonly text: string
  matches(topic: string): boolean
}

/** The maximum characters of a topic, and of a matcher. */
export const LONGEST_TOPIC = 1024
/** Matches every topic, whatever its type. */
const ANY = '*'
/** Control characters, and invisible ones. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}]/u
/** The base URL of relative topics and patterns. */
export const BASE = 'https://hub.invalid/.well-known/mercure'

/** Why a topic or a matcher is invalid, as the end of a sentence; undefined if it is valid. */
export function topicFault(text: unknown): string | undefined {
  if (typeof text !== 'string') return 'is not a text'
  if (text === '') return 'is empty'
  if (text.length > LONGEST_TOPIC) return `is longer than ${LONGEST_TOPIC} characters`
  return UNSEEN.test(text) ? 'has control or format characters' : undefined
}

/** Raises FW_BAD_CHANNEL for names of the node's own channels. */
export function requireForeign(topic: string): void {
  if (topic.startsWith('fanwire:'))
    throw new FanwireError('FW_BAD_CHANNEL', 'topics that begin with fanwire: are the node’s own')
}

/** Whether a text has characters that are not allowed in topics, ids and types. */
export function hasUnseen(text: string): boolean {
  return UNSEEN.test(text)
}

const MOST_KNOWN = 10_000
const known = new Map<string, TopicMatcher>()

/** Returns a matcher; equal matchers are shared. Raises FW_BAD_PARAMETER. */
export function topicMatcher(type: MatchType, text: unknown): TopicMatcher {
  const fault = topicFault(text)
  if (fault !== undefined) throw bad(`the topic matcher ${quote(text)} ${fault}`)
  requireForeign(text as string)
  const name = `${type} ${text as string}`
  const found = known.get(name)
  if (found !== undefined) return found
  const made = makeMatcher(type, ownCopy(text as string))
  if (known.size >= MOST_KNOWN) known.clear()
  known.set(name, made)
  return made
}

function makeMatcher(type: MatchType, text: string): TopicMatcher {
  if (text === ANY) return { type, text, matches: () => true }
  const isSame = (topic: string) => topic === text
  if (type === 'exact') return { type, text, matches: isSame }
  if (type === 'urlpattern') return { type, text, matches: remembering(MOST_REMEMBERED, urlPattern(text)) }
  const template = parseTemplate(text)
  if (template === undefined) return { type, text, matches: isSame }
  return { type, text, matches: remembering(MOST_REMEMBERED, topic => isSame(topic) || template(topic)) }
}

const MOST_REMEMBERED = 500

/** Caches the results for up to `most` topics, since many readers match the same update. */
export function remembering(most: number, matches: (topic: string) => boolean): (topic: string) => boolean {
  const verdicts = new Map<string, boolean>()
  return topic => {
    let verdict = verdicts.get(topic)
    if (verdict !== undefined) return verdict
    verdict = matches(topic)
    if (verdicts.size >= most) verdicts.clear()
    verdicts.set(topic, verdict)
    return verdict
  }
}

const COMPONENTS = [
  'protocol',
  'username',
  'password',
  'hostname',
  'port',
  'pathname',
  'search',
  'hash',
] as const
/** The delimiter of a component's segments. */
const DELIMITERS: Readonly<Record<string, string>> = { hostname: '.', pathname: '/' }
/** The maximum number of variable parts that may match the same characters. */
const MOST_VARIABLE = 2

function urlPattern(text: string): (topic: string) => boolean {
  let pattern: URLPattern
  try {
    pattern = new URLPattern(text, BASE)
  } catch {
    throw bad(`${quote(text)} is not a URL pattern`)
  }
  for (const component of COMPONENTS) {
    const fault = costFault(pattern[component], DELIMITERS[component])
    if (fault !== undefined) throw bad(`the URL pattern ${quote(text)} ${fault}`)
  }
  return topic => pattern.test(topic, BASE)
}

/** Why a component may be too slow to match: URL patterns become regular expressions, which backtrack. */
function costFault(component: string, delimiter = '\0'): string | undefined {
  const plain = component.replaceAll(/\\./gu, '')
  if (plain.includes('(')) return 'has a regular expression, which is not accepted here: use :name and *'
  const wildcards = plain.match(/[*+]/g)?.length ?? 0
  const names = plain.split(delimiter).map(segment => segment.match(/:/g)?.length ?? 0)
  return wildcards + Math.max(...names) > MOST_VARIABLE
    ? `has more than ${MOST_VARIABLE} of * and :name that follow each other`
    : undefined
}

function bad(message: string): FanwireError {
  return new FanwireError('FW_BAD_PARAMETER', message)
}
