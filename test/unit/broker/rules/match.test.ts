// Channel patterns: which are valid, what they match, and a channel's rule: the one with the most specific pattern.

import { mock as mocks } from 'node:test'
import fc from 'fast-check'
import t from 'tap'
import { matches, patternFault } from '../../../../services/broker/rules/patterns.ts'
import { PatternTable, userMatches } from '../../../../services/broker/rules/match.ts'

// Patterns ----------------------------------------------------------------------------------------------------

t.test('invalid patterns report why', async t => {
  const faults: readonly [unknown, RegExp][] = [
    ['', /is empty/],
    [7, /is not a string/],
    ['a::b', /empty segment/],
    [':a', /empty segment/],
    ['a:', /empty segment/],
    ['**', /`\*\*`/],
    ['chat:**', /`\*\*`/],
    ['chat:**:x', /`\*\*`/],
    ['chat*', /within a segment/],
    ['chat:a*b', /within a segment/],
    ['^chat:.+$', /no regular expressions/],
    ['chat:(a|b)', /no regular expressions/],
    ['chat:[0-9]+', /no regular expressions/],
    ['chat:\\d', /no regular expressions/],
    ['chat:%2A', /no regular expressions/],
    ['chat:caf\u00e9', /characters that no channel name has/],
    ['chat:cafe\u0301', /characters that no channel name has/],
    ['chat: x', /characters that no channel name has/],
    ['inbox:{user}', /which is only allowed in rules/],
    ['inbox:{client}', /braces/],
    ['inbox:x{user}', /braces/],
    ['fanwire:presence:*', /the node's own/],
    ['fanwire', /the node's own/],
    ['..', /dot segment/],
    ['a/../b:*', /dot segment/],
    ['a'.repeat(201), /longer than 200/],
  ]
  for (const [pattern, why] of faults) t.match(patternFault(pattern), why, String(pattern).slice(0, 20))
  t.equal(patternFault('inbox:{user}', { userSegments: true }), undefined)
  for (const pattern of [
    '*',
    "/#$=,;!+&()'?",
    'https://a.b/c',
    'docs/a:*',
    'news',
    'chat:*',
    '*:x',
    'a:*:b',
    'A.b_c~d@e-f:9',
  ]) {
    t.equal(patternFault(pattern), undefined, pattern)
  }
})

t.test('* matches one whole segment; at the end, it matches the rest: one segment or more', async t => {
  const table: readonly [pattern: string, yes: readonly string[], no: readonly string[]][] = [
    ['news', ['news'], ['new', 'news:a', 'newsx', 'xnews', 'News']],
    ['*', ['news', 'a:b', 'a:b:c', 'a::b', ':'], []],
    ['chat:*', ['chat:1', 'chat:1:2', 'chat:', 'chat::x'], ['chat', 'chats:1', 'chatx', 'xchat:1']],
    ['chat:*:in', ['chat:1:in', 'chat::in'], ['chat:1:2:in', 'chat:in', 'chat:1:inn', 'chat:1:in:x']],
    ['docs:*:x', ['docs:a/b:x'], ['docs/a:x', 'docs:a/b/x']],
    ['*:in', ['chat:in', ':in'], ['in', 'a:b:in', 'chat:in:x']],
    ['*:*', ['a:b', 'a:b:c'], ['a']],
    ['a:*:c:*', ['a:b:c:d', 'a:b:c:d:e'], ['a:b:c', 'a:b:x:d']],
  ]
  for (const [pattern, yes, no] of table) {
    for (const channel of yes) t.ok(matches(pattern, channel), `${pattern} matches ${channel}`)
    for (const channel of no) t.notOk(matches(pattern, channel), `${pattern} does not match ${channel}`)
  }
})

t.test('matching agrees with an equivalent regular expression', async () => {
  const part = fc.constantFrom('a', 'b', 'aa', 'ab', '')
  const literal = fc.constantFrom('a', 'b', 'aa', 'ab')
  const pattern = fc
    .array(fc.oneof(literal, fc.constant('*')), { minLength: 1, maxLength: 5 })
    .map(all => all.join(':'))
  const channel = fc.array(part, { minLength: 1, maxLength: 6 }).map(all => all.join(':'))
  fc.assert(
    fc.property(pattern, channel, (pattern, channel) => {
      const segments = pattern.split(':')
      const source = segments.map((segment, index) => {
        if (segment !== '*') return segment
        return index === segments.length - 1 ? '.*' : '[^:]*'
      })
      return matches(pattern, channel) === new RegExp(`^${source.join(':')}$`).test(channel)
    }),
    { numRuns: 2000 },
  )
})

t.test('any text is a pattern or has a fault', async () => {
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.anything()), text => {
      const fault = patternFault(text)
      return fault === undefined
        ? /^[A-Za-z0-9_.:~@/#$=,;!+&()'?*-]+$/.test(text as string)
        : fault.length > 5
    }),
  )
})

// The rule of a channel ---------------------------------------------------------------------------------------

function tableOf(...patterns: readonly string[]): PatternTable<string> {
  const table = new PatternTable<string>()
  for (const pattern of patterns) table.add(pattern, pattern)
  return table
}

t.test('more literal segments win, then more segments, then literals from the left', async t => {
  const table: readonly [channel: string, expected: string | undefined, ...others: string[]][] = [
    ['chat:1', 'chat:1', 'chat:*', '*', '*:1', '*:*', 'chat:{user}'],
    ['chat:1', 'chat:*', '*', '*:*'],
    ['chat:1', 'chat:*', '*:1', '*:{user}'],
    ['chat:1', 'chat:{user}', 'chat:*', '{user}:1'],
    ['chat:1', '{user}:1', '*:1'],
    ['chat:1:2', 'chat:*', 'chat:{user}', '*', '*:*:*'],
    ['chat:1:2', 'chat:*:*', 'chat:*', 'chat:{user}'],
    ['chat:1:2', 'chat:*:2', 'chat:*:*', '*:1:*'],
    ['chat:1:2', '*:1:2', 'chat:*', 'chat:{user}:*'],
    ['chat:1:2', 'chat:1:*', 'chat:*:2', '*:1:2'],
    ['chat', 'chat', '*', 'chat:*'],
    ['chat', '*', 'chat:*', '*:*'],
    ['chat:', 'chat:*', '*'],
    ['chat::x', 'chat:*', 'chat:{user}:y'],
    [':', '*:*', '*'],
    ['chat', undefined, 'chat:*', 'chats', 'Chat'],
    ['a:b:c:d', 'a:*:c:*', 'a:b:*', '*:b:c:e', 'a:*'],
    ['constructor', '*', '__proto__'],
  ]
  for (const [channel, expected, ...others] of table) {
    const patterns = expected === undefined ? others : [...others, expected]
    t.equal(tableOf(...patterns).find(channel), expected, `${channel} among ${patterns.join(' ')}`)
    t.equal(tableOf(...patterns.reverse()).find(channel), expected, 'the order of the rules does not matter')
  }
})

/** The documented precedence, implemented plainly: sorts all matching patterns. */
function plainly(patterns: readonly string[], channel: string): string | undefined {
  const rank = (pattern: string) =>
    pattern.split(':').map(segment => (segment === '*' ? 2 : segment === '{user}' ? 1 : 0))
  const literals = (pattern: string) => rank(pattern).filter(kind => kind === 0).length
  return patterns
    .filter(pattern => {
      if (pattern.endsWith('{user}') && pattern.split(':').length !== channel.split(':').length) return false
      return matches(pattern.replaceAll('{user}', '*'), channel)
    })
    .sort(
      (a, b) =>
        literals(b) - literals(a) ||
        b.split(':').length - a.split(':').length ||
        rank(a).join('').localeCompare(rank(b).join('')),
    )[0]
}

t.test('the table finds the pattern that a sort of all patterns finds', async () => {
  const segment = fc.constantFrom('a', 'b', '*', '{user}')
  const patterns = fc.uniqueArray(
    fc.array(segment, { minLength: 1, maxLength: 4 }).map(all => all.join(':')),
    { maxLength: 30 },
  )
  const channel = fc
    .array(fc.constantFrom('a', 'b', 'c', ''), { minLength: 1, maxLength: 5 })
    .map(all => all.join(':'))
  fc.assert(
    fc.property(
      patterns,
      channel,
      (patterns, channel) => tableOf(...patterns).find(channel) === plainly(patterns, channel),
    ),
    { numRuns: 5000 },
  )
})

t.test('{user} matches the user as a whole segment; anonymous clients match none', async t => {
  t.ok(userMatches([], 'news', ''))
  t.ok(userMatches([1], 'inbox:42', '42'))
  t.ok(userMatches([1, 3], 'a:42:b:42', '42'))
  t.notOk(userMatches([1, 3], 'a:42:b:43', '42'))
  t.notOk(userMatches([1], 'inbox:42', '4'))
  t.notOk(userMatches([1], 'inbox:42', '42:x'))
  t.notOk(userMatches([1], 'inbox:', ''))
  t.notOk(userMatches([1], 'inbox:*', '42'))
})

t.test('a decision costs the same for 10,000 rules as for a few', async t => {
  const few = ['chat:*', 'chat:{user}:*', 'inbox:{user}', 'a:*:c', '*:b:c', 'news']
  const many = Array.from({ length: 10_000 }, (_, i) => (i % 2 === 0 ? `room:${i}` : `team${i}:*`))
  const looksOf = (patterns: readonly string[], channel: string) => {
    const table = tableOf(...patterns)
    const { mock } = mocks.method(Map.prototype, 'get')
    try {
      table.find(channel)
    } finally {
      mock.restore()
    }
    return mock.callCount()
  }
  for (const channel of ['chat:1', 'chat:ann:x:y', 'a:b:c', 'news', 'nothing:like:it', 'inbox:ann']) {
    const looks = looksOf(few, channel)
    t.ok(looks > 0)
    t.equal(looksOf([...few, ...many], channel), looks, channel)
  }
})
