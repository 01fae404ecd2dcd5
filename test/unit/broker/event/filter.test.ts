// Filters: which events match, which filters are equal, and which are rejected.

import t from 'tap'
import {
  allOf,
  type Filtered,
  filterOf,
  oneOf,
  parseFilter,
  typesFilter,
} from '../../../../services/broker/event/filter.ts'

const event = (tags: Record<string, string>, type?: string): Filtered => ({
  type,
  tags: new Map(Object.entries(tags)),
})

t.test('each comparison matches as documented', async t => {
  const cases: [cmp: string, operand: object, passing: string[], others: (string | undefined)[]][] = [
    ['eq', { val: 'a' }, ['a'], ['b', 'A', '', undefined]],
    ['neq', { val: 'a' }, ['b', ''], ['a']],
    ['in', { vals: ['a', 'b'] }, ['a', 'b'], ['c', undefined]],
    ['nin', { vals: ['a', 'b'] }, ['c', ''], ['a']],
    ['ex', {}, ['', 'a'], [undefined]],
    ['sw', { val: 'ab' }, ['ab', 'abc'], ['xab', undefined]],
    ['ew', { val: 'ab' }, ['ab', 'xab'], ['abc', undefined]],
    ['ct', { val: 'ab' }, ['ab', 'xabx'], ['ba', undefined]],
    ['gt', { val: '9' }, ['10', '9.5'], ['9', '8', 'x', '', '1e9', undefined]],
    ['gte', { val: '-1.5' }, ['-1.5', '0'], ['-2', undefined]],
    ['lt', { val: '10' }, ['9', '-11'], ['10', 'a', undefined]],
    ['lte', { val: '10' }, ['10.0'], ['10.1', undefined]],
  ]
  for (const [cmp, operand, passing, others] of cases) {
    const filter = filterOf({ key: 'k', cmp, ...operand })
    for (const value of passing) t.ok(filter.passes(event({ k: value })), `${cmp} ${value}`)
    for (const value of others) {
      t.notOk(
        filter.passes(value === undefined ? event({ other: '1' }) : event({ k: value })),
        `${cmp} ${value}`,
      )
    }
  }
  for (const absent of [{ cmp: 'nex' }, { cmp: 'neq', val: 'a' }, { cmp: 'nin', vals: ['a'] }]) {
    t.ok(filterOf({ key: 'k', ...absent }).passes({ type: undefined, tags: undefined }), absent.cmp)
  }
  t.notOk(filterOf({ key: '__proto__', cmp: 'ex' }).passes(event({})))
})

t.test('and, or, not, and types combine', async t => {
  const a = { key: 'a', cmp: 'ex' }
  const b = { key: 'b', cmp: 'ex' }
  const passes = (node: unknown, ...names: string[]) =>
    filterOf(node).passes(event(Object.fromEntries(names.map(name => [name, '']))))
  t.same(
    [passes({ op: 'and', nodes: [a, b] }, 'a'), passes({ op: 'and', nodes: [a, b] }, 'a', 'b')],
    [false, true],
  )
  t.same([passes({ op: 'or', nodes: [a, b] }, 'b'), passes({ op: 'or', nodes: [a, b] })], [true, false])
  t.same([passes({ op: 'not', nodes: [a] }, 'a'), passes({ op: 'not', nodes: [a] })], [false, true])
  const types = typesFilter(['x', 'y'])
  t.same([types.passes(event({}, 'y')), types.passes(event({}))], [true, false])
})

t.test('equal filters have one key', async t => {
  const a = { key: 'a', cmp: 'eq', val: '1' }
  const b = { key: 'b', cmp: 'in', vals: ['x', 'y'] }
  const key = (node: unknown) => filterOf(node).key
  t.equal(
    key({ op: 'and', nodes: [a, b] }),
    key({ nodes: [{ ...b, vals: ['y', 'x', 'y'] }, a, a], op: 'and' }),
  )
  t.equal(key({ op: 'or', nodes: [a] }), key({ ...a, op: '' }))
  t.equal(parseFilter(JSON.stringify(b)).key, key(b))
  t.equal(typesFilter(['b', 'a', 'b']).key, typesFilter(['a', 'b']).key)
  const different = [
    a,
    b,
    { op: 'not', nodes: [a] },
    { op: 'and', nodes: [a, b] },
    { op: 'or', nodes: [a, b] },
  ]
  t.equal(new Set(different.map(key)).size, different.length)
  t.not(typesFilter(['eq', 'x']).key, key({ key: 'types', cmp: 'eq', val: 'x' }))
  t.equal(allOf([undefined, undefined]), undefined)
  t.equal(allOf([undefined, filterOf(a)])?.key, key(a))
  t.equal(oneOf([filterOf(a), filterOf(b)]).key, key({ op: 'or', nodes: [b, a] }))
})

t.test('an invalid filter is rejected', async t => {
  const a = { key: 'a', cmp: 'eq', val: '1' }
  const deep = (depth: number): object => (depth === 1 ? a : { op: 'not', nodes: [deep(depth - 1)] })
  const bad: unknown[] = [
    null,
    [],
    'a',
    {},
    { key: 'a' },
    { key: '', cmp: 'ex' },
    { ...a, cmp: 'constructor' },
    { ...a, val: 1 },
    { ...a, val: 'x'.repeat(257) },
    { ...a, vals: ['1'] },
    { ...a, more: 1 },
    { key: 'a', cmp: 'in', vals: [] },
    { key: 'a', cmp: 'in', vals: [1] },
    { key: 'a', cmp: 'in', vals: Array.from({ length: 101 }, (_, i) => `${i}`) },
    { key: 'a', cmp: 'gt', val: 'ten' },
    { op: 'xor', nodes: [a] },
    { op: 'and', nodes: [] },
    { op: 'and', nodes: [a], key: 'a' },
    { op: 'not', nodes: [a, a] },
    { op: 'or', nodes: Array.from({ length: 100 }, () => a) },
    deep(9),
  ]
  for (const node of bad)
    t.throws(() => filterOf(node), { code: 'FW_BAD_FILTER' }, JSON.stringify(node)?.slice(0, 60))
  t.throws(() => parseFilter('{'), { code: 'FW_BAD_FILTER' })
  t.ok(filterOf(deep(8)))
  t.ok(filterOf({ op: 'or', nodes: Array.from({ length: 99 }, () => a) }))
})
