import fc from 'fast-check'
import t from 'tap'
import type { ErrorCode, FanwireError } from '../../../../services/errors.ts'
import { ENTRY_MEMBERS, entryOf, parseEntry } from '../../../../services/broker/event/publish-entry.ts'
import { elements, members } from '../../../../services/broker/event/json-spans.ts'

const LIMITS = { maxBody: 1000, maxChannels: 3 }

/** Choices of how to print, used in turn. */
const style = fc.array(fc.nat(23), { minLength: 1, maxLength: 40 })
const SPACES = ['', '', '', '', ' ', '\n', '\r\n\t']

/** JSON text of `value`, with white space between tokens and escapes in strings as `choices` say. */
function printed(value: fc.JsonValue, choices: readonly number[]): string {
  let turn = 0
  const choose = (count: number) => (choices[turn++ % choices.length] ?? 0) % count
  const space = () => SPACES[choose(SPACES.length)] ?? ''
  const string = (text: string) => {
    const units = Array.from(text).map(unit => {
      return choose(4) === 0
        ? unit.replace(/[\s\S]/g, each => `\\u${hex(each.charCodeAt(0))}`)
        : JSON.stringify(unit).slice(1, -1)
    })
    return `"${units.join('')}"`
  }
  const print = (each: fc.JsonValue): string => {
    if (typeof each === 'string') return string(each)
    if (typeof each !== 'object' || each === null) return JSON.stringify(each)
    const parts = Array.isArray(each)
      ? each.map(print)
      : Object.entries(each).map(
          ([name, part]) => `${string(name)}${space()}:${space()}${print(part ?? null)}`,
        )
    const list = parts.map(part => space() + part + space()).join(',') || space()
    return Array.isArray(each) ? `[${list}]` : `{${list}}`
  }
  return space() + print(value) + space()
}

const hex = (unit: number) => unit.toString(16).padStart(4, '0')

/** Names that are similar, and inputs on which a careless scanner fails. */
const name = fc.oneof(
  fc.constantFrom('data', 'data ', 'a"b', '\\', '}', '{"', ',', ':', '__proto__', ''),
  fc.string(),
)
const tricky = fc.oneof(
  fc.constantFrom('"}', '\\"', '{[', ']}', 'é🎉', '\\', '\u2028'),
  fc.string({ unit: 'binary' }),
)
const json: fc.Arbitrary<fc.JsonValue> = fc.letrec<{ value: fc.JsonValue }>(tie => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.oneof(tricky, fc.double({ noNaN: true, noDefaultInfinity: true }), fc.boolean(), fc.constant(null)),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(name, tie('value'), { maxKeys: 4, noNullPrototype: true }),
  ),
})).value

t.test('members finds what JSON.parse finds', async t => {
  const object = fc.dictionary(name, json, { maxKeys: 6, noNullPrototype: true })
  fc.assert(
    fc.property(object, style, (value, choices) => {
      const text = printed(value, choices)
      const raw = Buffer.from(text)
      const parsed: [string, unknown][] = Object.entries(JSON.parse(text))
      const found = [...members(raw)].map(({ name, start, end }) => {
        const slice = raw.toString('utf8', start, end)
        if (slice !== slice.trim()) throw new Error(`space around ${slice}`)
        return [name, JSON.parse(slice)]
      })
      // Objects list names that look like numbers first.
      const sorted = (list: unknown[][]) => list.map(each => JSON.stringify(each)).sort()
      if (JSON.stringify(sorted(found)) !== JSON.stringify(sorted(parsed))) throw new Error(text)
    }),
    { numRuns: 1000 },
  )
  t.pass()
})

t.test('elements finds what JSON.parse finds', async t => {
  fc.assert(
    fc.property(fc.array(json, { maxLength: 6 }), style, (value, choices) => {
      const text = printed(value, choices)
      const found = [...elements(Buffer.from(text))].map(each => JSON.parse(each.toString()))
      if (JSON.stringify(found) !== JSON.stringify(JSON.parse(text))) throw new Error(text)
    }),
    { numRuns: 1000 },
  )
  t.pass()
})

t.test('invalid JSON is rejected, even if every part passes JSON.parse', async t => {
  const noise = fc.array(
    fc.constantFrom('{', '}', '[', ']', ',', ':', '"', '\\', '1', 'a', '"a"', ' ', 'null'),
    {
      maxLength: 12,
    },
  )
  const check = (text: string, scan: () => void) => {
    const passes = (run: () => void) => {
      try {
        run()
        return true
      } catch (error) {
        if (error instanceof SyntaxError) return false
        throw error
      }
    }
    if (passes(scan) !== passes(() => JSON.parse(text))) throw new Error(text)
  }
  fc.assert(
    fc.property(noise, parts => {
      const array = `[${parts.join('')}]`
      check(array, () => {
        for (const each of elements(Buffer.from(array))) JSON.parse(each.toString())
      })
      const object = `{${parts.join('')}}`
      const raw = Buffer.from(object)
      check(object, () => {
        for (const { start, end } of members(raw)) JSON.parse(raw.toString('utf8', start, end))
      })
    }),
    { numRuns: 5000 },
  )
  for (const text of ['', '[', '[1', '[1,', '[1,]', '[,1]', '["', '["\\', '[1]]', '[1] 2', '{}']) {
    t.throws(() => [...elements(Buffer.from(text))], { name: 'SyntaxError' }, text)
  }
  for (const text of [
    '',
    '{',
    '{"a"',
    '{"a":',
    '{"a":1',
    '{"a":1,}',
    '{a:1}',
    '{"a" 1}',
    '{"a":1}}',
    '[]',
    '{"\\x":1}',
  ]) {
    t.throws(() => [...members(Buffer.from(text))], { name: 'SyntaxError' }, text)
  }
})

t.test('data keeps the exact bytes that were sent, except for line breaks', async t => {
  fc.assert(
    fc.property(json, style, (value, choices) => {
      const data = printed(value, choices).trim()
      const raw = Buffer.from(` { "d\\u0061ta" : ${data}\t,"channel":"a"}\r`)
      const { draft } = parseEntry(raw, { ...LIMITS, maxBody: 1e6 })
      const expected = data.replaceAll(/[\r\n]/g, ' ')
      if (draft.data.toString() !== expected) throw new Error(draft.data.toString())
    }),
    { numRuns: 1000 },
  )
  t.pass()
})

t.test('a valid entry is parsed', async t => {
  const parse = (text: string) => {
    const { draft, ...rest } = parseEntry(Buffer.from(text), LIMITS)
    return { ...rest, draft: { ...draft, data: draft.data.toString() } }
  }
  t.strictSame(parse('{"channel":"a","data":1.0}'), {
    channels: ['a'],
    several: false,
    draft: { data: '1.0' },
  })
  t.strictSame(parse('{"data":{"__proto__":1,"data":2},"channels":["a","b"],"priority":"low"}'), {
    channels: ['a', 'b'],
    several: true,
    draft: { data: '{"__proto__":1,"data":2}', priority: 'low' },
  })
  t.strictSame(parse('{"type":"t","idempotencyKey":"k","priority":"high","channels":["a"],"data":null}'), {
    channels: ['a'],
    several: true,
    draft: { data: 'null', type: 't', idempotencyKey: 'k' },
  })
  t.strictSame(parse('{"channel":"a","data":"AP\\u002b\\/","encoding":"base64"}'), {
    channels: ['a'],
    several: false,
    draft: { data: '"AP+/"', encoding: 'base64', sent: 3 },
  })
  const most = Buffer.alloc(LIMITS.maxBody).toString('base64')
  t.equal(parse(`{"channel":"a","data":"${most}","encoding":"base64"}`).draft.data.length, most.length + 2)
})

t.test('invalid input is rejected with a code', async t => {
  const cases: [ErrorCode, string | Buffer][] = [
    ['FW_BAD_ENCODING', Buffer.from([0x7b, 0xff, 0x7d])],
    ['FW_BAD_JSON', ''],
    ['FW_BAD_JSON', '{"channel":"a","data":1'],
    ['FW_BAD_JSON', '{"channel":"a","data":1} x'],
    ['FW_BAD_JSON', '\ufeff{"channel":"a","data":1}'],
    ['FW_BAD_EVENT', '1'],
    ['FW_BAD_EVENT', 'null'],
    ['FW_BAD_EVENT', '[{"channel":"a","data":1}]'],
    ['FW_BAD_EVENT', '{}'],
    ['FW_BAD_EVENT', '{"channel":"a"}'],
    ['FW_BAD_EVENT', '{"data":1}'],
    ['FW_BAD_EVENT', '{"channel":"a","data":1,"dat":1}'],
    ['FW_BAD_EVENT', '{"channel":"a","data":1,"__proto__":{}}'],
    ['FW_BAD_EVENT', '{"channel":"a","data":1,"dat\\u0061":2}'],
    ['FW_BAD_EVENT', '{"channel":"a","channel":"b","data":1}'],
    ['FW_BAD_EVENT', '{"channel":"a","channels":["b"],"data":1}'],
    ['FW_BAD_EVENT', '{"channels":"a","data":1}'],
    ['FW_BAD_EVENT', '{"channels":[],"data":1}'],
    ['FW_BAD_EVENT', '{"channels":["a","a"],"data":1}'],
    ['FW_BAD_EVENT', '{"channel":"a","data":1,"priority":"urgent"}'],
    ['FW_BAD_EVENT', '{"channel":"a","data":"AA==","encoding":"hex"}'],
    ['FW_BAD_EVENT', '{"channel":"a","data":"AA=","encoding":"base64"}'],
    ['FW_BAD_EVENT', '{"channel":"a","data":"A A==","encoding":"base64"}'],
    ['FW_BAD_EVENT', '{"channel":"a","data":1234,"encoding":"base64"}'],
    ['FW_BAD_CHANNEL', '{"channel":"a b","data":1}'],
    ['FW_BAD_CHANNEL', '{"channel":1,"data":1}'],
    ['FW_BAD_CHANNEL', '{"channels":["a",null],"data":1}'],
    ['FW_BAD_CHANNEL', '{"channel":"fanwire:a","data":1}'],
    ['FW_TOO_MANY_CHANNELS', '{"channels":["a","b","c","d"],"data":1}'],
    ['FW_BAD_TYPE', '{"channel":"a","data":1,"type":"gap"}'],
    ['FW_BAD_TYPE', '{"channel":"a","data":1,"type":null}'],
    ['FW_BAD_TAG', '{"channel":"a","data":1,"tags":null}'],
    ['FW_BAD_TAG', '{"channel":"a","data":1,"tags":[]}'],
    ['FW_BAD_TAG', '{"channel":"a","data":1,"tags":{"a":1}}'],
    ['FW_BAD_TAG', '{"channel":"a","data":1,"tags":{"a b":""}}'],
    ['FW_BAD_TAG', '{"channel":"a","data":1,"tags":{"a":"\\ud800"}}'],
    ['FW_BAD_IDEMPOTENCY_KEY', '{"channel":"a","data":1,"idempotencyKey":""}'],
    ['FW_BAD_IDEMPOTENCY_KEY', '{"channel":"a","data":1,"idempotencyKey":7}'],
    ['FW_TOO_LARGE', `{"channel":"a","data":"${'x'.repeat(999)}"}`],
    ['FW_TOO_LARGE', `{"channel":"a","data":"${Buffer.alloc(1001).toString('base64')}","encoding":"base64"}`],
  ]
  for (const [code, text] of cases) {
    try {
      parseEntry(Buffer.from(text), LIMITS)
      t.fail(String(text))
    } catch (error) {
      t.equal((error as FanwireError).code, code, String(text))
    }
  }
  t.throws(() => parseEntry(Buffer.from(`{"${'x'.repeat(1e5)}":1}`), LIMITS), { message: /^.{1,200}$/ })
})

t.test('a wire may accept fewer members', async t => {
  const raw = Buffer.from('{"channels":["a"],"data":1}')
  const takes = new Set([...ENTRY_MEMBERS].filter(each => each !== 'channels'))
  t.throws(() => entryOf(JSON.parse(raw.toString()), raw, LIMITS, takes), { code: 'FW_BAD_EVENT' })
})
