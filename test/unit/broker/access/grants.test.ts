// Grants of tokens: their caps add up.

import fc from 'fast-check'
import t from 'tap'
import { capsGrants, findGrant, type Grants, type Right } from '../../../../services/broker/access/grants.ts'

function caps(value: unknown): Grants {
  const grants = capsGrants('token', value)
  if (typeof grants === 'string') throw new Error(grants)
  return grants
}

const has = (grants: Grants, right: Right, channel: string) =>
  findGrant([grants], 'token', right, channel) !== undefined

t.test('caps grant the rights they list, and add up', async t => {
  const grants = caps([
    { channels: ['chat:*', 'inbox:42'], allow: ['sub', 'hst'] },
    { channels: ['chat:1'], allow: ['pub'] },
    { channels: ['room:*'], allow: ['prs'] },
  ])
  t.ok(has(grants, 'subscribe', 'chat:1'))
  t.ok(has(grants, 'publish', 'chat:1'))
  t.notOk(has(grants, 'publish', 'chat:2'))
  t.ok(has(grants, 'history', 'inbox:42'))
  t.notOk(has(grants, 'history', 'inbox:43'))
  t.ok(has(grants, 'presence', 'room:1:2'))
  t.notOk(has(grants, 'subscribe', 'room:1'))
  t.notOk(has(grants, 'admin', 'chat:1'), 'no cap of a token grants admin')
  t.equal(
    findGrant([grants], 'hook', 'subscribe', 'chat:1'),
    undefined,
    'grants of other sources are ignored',
  )
})

t.test('faults in caps are reported with their place', async t => {
  const table: readonly [unknown, RegExp][] = [
    [{}, /^caps is not a list/],
    ['chat:*', /^caps is not a list/],
    [[7], /^caps\[0\] is not an object/],
    [[null], /^caps\[0\] is not an object/],
    [[{ channels: ['a'] }], /^caps\[0\]\.allow is not a list of strings/],
    [[{ allow: ['sub'] }], /^caps\[0\]\.channels is not a list of strings/],
    [[{ channels: 'a', allow: ['sub'] }], /^caps\[0\]\.channels is not a list/],
    [[{ channels: ['a'], allow: 'sub' }], /^caps\[0\]\.allow is not a list/],
    [
      [
        { channels: ['a'], allow: ['sub'] },
        { channels: ['a', 3], allow: [] },
      ],
      /^caps\[1\]\.channels/,
    ],
    [[{ channels: ['a'], allow: ['subscribe'] }], /"subscribe": a right is sub, pub, hst, prs/],
    [[{ channels: ['a'], allow: ['admin'] }], /"admin"/],
    [[{ channels: ['a:**'], allow: ['sub'] }], /channels\[0\] "a:\*\*" has `\*\*`/],
    [[{ channels: ['a'], allow: ['sub'], match: 'regex' }], /member "match"/],
  ]
  for (const [value, why] of table) t.match(capsGrants('token', value), why)
})

t.test('order never matters, and no cap removes a right', async () => {
  const pattern = fc.constantFrom('a', 'a:*', 'a:b', '*', '*:b', 'b:*')
  const word = fc.constantFrom('sub', 'pub', 'hst', 'prs')
  const cap = fc.record({ channels: fc.array(pattern), allow: fc.array(word) })
  const right = fc.constantFrom<Right>('subscribe', 'publish', 'history', 'presence')
  const channel = fc.constantFrom('a', 'b', 'a:b', 'a:c', 'b:b', 'a:b:c')
  fc.assert(
    fc.property(fc.array(cap), cap, right, channel, (list, more, right, channel) => {
      const before = has(caps(list), right, channel)
      const after = has(caps([...list, more]), right, channel)
      return after === has(caps([more, ...list].reverse()), right, channel) && (after || !before)
    }),
  )
})
