// Channel patterns in grants: valid patterns, and their matches.

import fc from 'fast-check'
import t from 'tap'
import { matches, patternFault } from '../../../../services/broker/rules/patterns.ts'

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

t.test('* is one whole segment; at the end it is the rest, one segment or more', async t => {
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
    for (const channel of yes) t.ok(matches(pattern, channel), `${pattern} has ${channel}`)
    for (const channel of no) t.notOk(matches(pattern, channel), `${pattern} has not ${channel}`)
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
