// The rule of a channel is the one with the most specific pattern.

import { mock as mocks } from 'node:test'
import fc from 'fast-check'
import t from 'tap'
import { matches } from '../../../../services/broker/rules/patterns.ts'
import { PatternTable, userMatches } from '../../../../services/broker/rules/match.ts'

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

t.test('the table matches a sort of all patterns', async () => {
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
