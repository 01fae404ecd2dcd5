// Finds the rule of a channel: the one with the most specific pattern.

import { USER_SEGMENT } from './patterns.ts'

interface Node<T> {
  readonly literals: Map<string, Node<T>>
  user: Node<T> | undefined
  any: Node<T> | undefined
  /** The value of the pattern that ends here with a literal or `{user}`. */
  here: T | undefined
  /** The value of the pattern whose last segment is a `*` here. */
  rest: T | undefined
}

interface Best<T> {
  value: T | undefined
  literals: number
  segments: number
}

/**
 * Finds the pattern with the most literal segments, then with the most segments. If both are equal, the first different
 * segment from the left decides: a literal wins over `{user}`, and that over `*`.
 */
export class PatternTable<T> {
  readonly #root = emptyNode<T>()

  /** Adds a pattern, which must be valid and new. */
  add(pattern: string, value: T): void {
    insert(this.#root, pattern.split(':'), value)
  }

  /** The value of the most specific pattern that matches, if there is one. */
  find(channel: string): T | undefined {
    const best: Best<T> = { value: undefined, literals: -1, segments: -1 }
    search(this.#root, channel.split(':'), 0, 0, best)
    return best.value
  }
}

function emptyNode<T>(): Node<T> {
  return { literals: new Map(), user: undefined, any: undefined, here: undefined, rest: undefined }
}

function insert<T>(root: Node<T>, segments: readonly string[], value: T): void {
  let node = root
  for (const [index, segment] of segments.entries()) {
    if (segment === '*' && index === segments.length - 1) {
      node.rest = value
      return
    }
    node = childFor(node, segment)
  }
  node.here = value
}

function childFor<T>(node: Node<T>, segment: string): Node<T> {
  if (segment === '*') return (node.any ??= emptyNode())
  if (segment === USER_SEGMENT) return (node.user ??= emptyNode())
  const known = node.literals.get(segment)
  if (known !== undefined) return known
  const made = emptyNode<T>()
  node.literals.set(segment, made)
  return made
}

/** Searches depth first, the most specific branch first, so that the first of equal patterns is the right one. */
function search<T>(
  node: Node<T>,
  segments: readonly string[],
  depth: number,
  literals: number,
  best: Best<T>,
): void {
  const left = segments.length - depth
  // Even if all remaining segments were literals, it would not be better.
  if (literals + left < best.literals) return
  if (literals + left === best.literals && segments.length <= best.segments) return
  const segment = segments[depth]
  if (segment === undefined) {
    if (node.here !== undefined) take(best, node.here, literals, depth)
    return
  }
  const literal = node.literals.get(segment)
  if (literal !== undefined) search(literal, segments, depth + 1, literals + 1, best)
  if (node.user !== undefined) search(node.user, segments, depth + 1, literals, best)
  if (node.any !== undefined) search(node.any, segments, depth + 1, literals, best)
  if (node.rest !== undefined) take(best, node.rest, literals, depth + 1)
}

function take<T>(best: Best<T>, value: T, literals: number, segments: number): void {
  if (literals < best.literals || (literals === best.literals && segments <= best.segments)) return
  best.value = value
  best.literals = literals
  best.segments = segments
}

/** Whether those segments of a channel equal the user. Anonymous clients match nothing. */
export function userMatches(userSegments: readonly number[], channel: string, user: string): boolean {
  if (userSegments.length === 0) return true
  if (user === '') return false
  const segments = channel.split(':')
  return userSegments.every(index => segments[index] === user)
}
