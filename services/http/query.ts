// The query parameters of a request: one validator for all routes.

import type { FastifyRequest } from 'fastify'
import { FanwireError, quote } from '../errors.ts'

/** Names that caches, trackers and service workers add to any URL; `__proto__` is none of theirs. */
const ADDED_BY_OTHERS = /^(?:_(?!_proto__)|utm_|ngsw-|(?:fbclid|gclid)$)/

/** What credentials come in: auth.ts has read them. */
const CREDENTIALS: ReadonlySet<string> = new Set(['ticket', 'token', 'channel_token'])

/** Edits between an unknown name and a known one up to which the known one is suggested. */
const NEAR = 3

/** Values by name. A parameter of `Many` may be repeated. */
export type Query<Once extends string, Many extends string = never> = { readonly [N in Once]?: string } & {
  readonly [N in Many]?: readonly string[]
}

/**
 * The parameters of a request. Passes over credentials, and those that others add to URLs. Raises FW_BAD_PARAMETER where a name is
 * neither in `once` nor in `many`, or one of `once` is repeated.
 */
export function checkedQuery<Once extends string, Many extends string = never>(
  request: FastifyRequest,
  once: readonly Once[],
  many: readonly Many[] = [],
): Query<Once, Many> {
  const checked: Record<string, string | string[]> = {}
  for (const [name, value] of Object.entries(request.query as Record<string, string | string[]>)) {
    if (many.some(each => each === name)) checked[name] = Array.isArray(value) ? value : [value]
    else if (once.some(each => each === name)) {
      if (Array.isArray(value)) throw new FanwireError('FW_BAD_PARAMETER', `${name} is there more than once`)
      checked[name] = value
    } else if (!ADDED_BY_OTHERS.test(name) && !CREDENTIALS.has(name))
      throw unknownParameter(name, [...many, ...once])
  }
  return checked as Query<Once, Many>
}

function unknownParameter(name: string, known: readonly string[]): FanwireError {
  const near = nearest(name, known)
  const hint =
    known.length === 0
      ? 'this path takes no parameters'
      : `${near === undefined ? '' : `did you mean ${near}? `}This path takes ${known.join(', ')}`
  return new FanwireError('FW_BAD_PARAMETER', `unknown parameter ${quote(name)}: ${hint}`)
}

/** The known name that takes the fewest edits, if it is near enough. */
function nearest(name: string, known: readonly string[]): string | undefined {
  let best: string | undefined
  let least = Math.min(NEAR, name.length - 1) + 1
  for (const each of known) {
    const edits = distance(name.slice(0, 40).toLowerCase(), each.toLowerCase())
    if (edits < least) [best, least] = [each, edits]
  }
  return best
}

/** Levenshtein's: insertions, deletions and substitutions that turn one text into the other. */
function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, i) => i)
  for (const [i, char] of [...from].entries()) {
    const next = [i + 1]
    for (let j = 0; j < to.length; j++) {
      const substituted = (row[j] ?? 0) + (char === to[j] ? 0 : 1)
      next.push(Math.min(substituted, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    }
    row = next
  }
  return row[to.length] ?? 0
}
