// The rules file: its parsed form, and every problem with its line and column.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import fc from 'fast-check'
import t from 'tap'
import { BadFileError, problemLine } from '../../../../services/broker/files/bad-file.ts'
import { CLOSED_RULES, openRules } from '../../../../services/broker/rules/make.ts'
import { parseRules } from '../../../../services/broker/rules/parse.ts'
import { rulesSchema } from '../../../../services/broker/rules/schema.ts'

const EXAMPLE = `# Rules with most members.
channels:
  - match: "news"
    subscribe: anyone
    publish: key
  - match: "chat:*"
    subscribe: [token, hook]
    publish: token
    history: { events: 1000, age: 7d, bytes: 8MiB }
    presence: true
    maxBody: 64KiB
    rate: { publish: 10/s, burst: 20 }
    transient: false
    slow: catch-up
  - match: "inbox:{user}"
    subscribe: user
default: { subscribe: token, publish: nobody }
`

function problemsOf(text: string): string[] {
  try {
    parseRules(text)
    return []
  } catch (error) {
    if (!(error instanceof BadFileError)) throw error
    return error.problems.map(problem => problemLine(problem))
  }
}

t.test('an example is parsed, and missing members have their defaults', async t => {
  const rules = parseRules(EXAMPLE)
  t.strictSame(rules.of('chat:1'), {
    match: 'chat:*',
    line: 6,
    userSegments: [],
    subscribe: ['token', 'hook'],
    hook: undefined,
    publish: ['token'],
    history: { events: 1000, age: 604_800_000, bytes: 8_388_608 },
    presence: true,
    maxBody: 65_536,
    rate: { publish: 10, burst: 20 },
    transient: false,
    erasable: false,
    slow: 'catch-up',
  })
  t.match(rules.of('news'), {
    match: 'news',
    line: 3,
    subscribe: ['anyone'],
    publish: ['key'],
    presence: false,
  })
  t.match(rules.of('inbox:42'), { match: 'inbox:{user}', userSegments: [1], publish: ['nobody'] })
  t.equal(rules.of('other'), rules.default)
  t.match(rules.default, { match: 'default', subscribe: ['token'], publish: ['nobody'] })
  t.equal(rules.open, undefined)
})

t.test('JSON is accepted too, and a byte order mark is ignored', async t => {
  const text = '\ufeff{"channels":[{"match":"*","subscribe":"anyone"}]}'
  t.strictSame(parseRules(text).of('a').subscribe, ['anyone'])
})

t.test('a missing member of a rule comes neither from default nor from another rule', async t => {
  const rules = parseRules(`
channels: [{ match: "a:b" }, { match: "a:*", presence: true, subscribe: user }]
default: { subscribe: anyone, publish: anyone, transient: true }
`)
  t.match(rules.of('a:b'), { subscribe: ['token'], publish: ['nobody'], presence: false, transient: false })
  t.match(rules.of('a'), { subscribe: ['anyone'], publish: ['anyone'], transient: true })
})

t.test('units of durations, sizes and rates are parsed', async t => {
  const of = (member: string) => parseRules(`channels: [{ match: a, ${member} }]`).of('a')
  for (const [age, ms] of [
    ['0s', 0],
    ['250ms', 250],
    ['10s', 10_000],
    ['5m', 300_000],
    ['24h', 86_400_000],
  ] as const) {
    t.equal(of(`history: { age: ${age} }`).history.age, ms, age)
  }
  for (const [bytes, size] of [
    ['1', 1],
    ['1000', 1000],
    ['1B', 1],
    ['1KB', 1000],
    ['1KiB', 1024],
    ['2MiB', 2_097_152],
  ] as const) {
    t.equal(of(`maxBody: ${bytes}`).maxBody, size, bytes)
  }
  t.strictSame(of('rate: { publish: 600/m }').rate, { publish: 10, burst: 10 })
  t.strictSame(of('rate: { publish: 6/m }').rate, { publish: 0.1, burst: 1 })
  t.strictSame(of('rate: { publish: 36/h, burst: 5 }').rate, { publish: 0.01, burst: 5 })
})

t.test('every problem has its line and column', async t => {
  const rule = (member: string) => `channels:\n  - match: a\n    ${member}\n`
  const table: readonly [text: string, ...problems: RegExp[]][] = [
    ['', /^the file is empty$/],
    ['# nothing', /^the file is empty$/],
    ['7', /^1:1: the file: "7" is not an object/],
    ['- a', /^1:1: the file: a list is not an object/],
    ['channels: 7', /^1:11: channels: "7" is not a list/],
    ['channels:', /^1:10: channels: nothing is not a list/],
    ['channel: []', /^1:1: the file: unknown member "channel"; known are \$schema, channels, default/],
    ['include: other.yaml', /^1:1: the file: unknown member "include"/],
    ['channels: [a]', /^1:12: channels\[0\]: "a" is not an object/],
    ['channels: [{ subscribe: user }]', /^1:12: channels\[0\]: match is missing/],
    [rule('subscibe: user'), /^3:5: channels\[0\]: unknown member "subscibe"; known are match, subscribe/],
    [rule('hooks: {}'), /^3:5: channels\[0\]: unknown member "hooks"/],
    [rule('7: 8'), /^3:5: channels\[0\]: unknown member "7"/],
    [
      rule('subscribe: all'),
      /^3:16: channels\[0\]\.subscribe: "all" is not one of anyone, user, token, hook, nobody/,
    ],
    [rule('subscribe: [token, all]'), /^3:24: channels\[0\]\.subscribe\[1\]: "all"/],
    [rule('subscribe: []'), /^3:16: channels\[0\]\.subscribe: the list is empty/],
    [rule('subscribe: [user, user]'), /twice/],
    [rule('subscribe: [user, nobody]'), /subscribe combines nobody with others/],
    [rule('subscribe: { user: true }'), /an object is not one of/],
    [rule('subscribe: key'), /"key" is not one of/],
    [rule('publish: app'), /"app" is not one of anyone, user, token, hook, key, nobody/],
    [rule('hook: { timeout: 1s }'), /^3:11: channels\[0\]\.hook: url is missing/],
    [
      rule('hook: { url: "ftp://a" }'),
      /^3:18: channels\[0\]\.hook\.url: "ftp:\/\/a" is not a URL of http or https/,
    ],
    [rule('hook: { url: "https://a", timeout: 31s }'), /^3:40: .*timeout: "31s" is not a duration up to 30s/],
    [
      rule('hook: { url: "https://a", headers: [Authorization] }'),
      /"Authorization" carries a key or a token/,
    ],
    [rule('hook: { url: "https://a", headers: ["a b"] }'), /"a b" is not a valid header name/],
    [rule('hook: { url: "https://a", answers: signed }'), /answers are signed, but there are no secrets/],
    [rule('hook: { url: "https://a", onFailure: maybe }'), /"maybe" is not one of deny, allow/],
    [
      'hooks: { conect: { url: "https://a" } }',
      /^1:10: hooks: unknown member "conect"; known are connect, refresh/,
    ],
    ['hooks: { connect: { } }', /^1:19: hooks\.connect: url is missing/],
    [rule('presence: "true"'), /^3:15: channels\[0\]\.presence: "true" is not true or false/],
    [rule('presence: yes'), /"yes" is not true or false/],
    [rule('presence:'), /presence: (nothing is not true or false|has no value)/],
    [rule('history: { age: 7 }'), /^3:21: channels\[0\]\.history\.age: "7" is not a duration/],
    [rule('history: { age: 7w }'), /"7w" is not a duration/],
    [rule('history: { age: -7d }'), /"-7d" is not a duration/],
    [rule('history: { age: 99999d }'), /a duration up to 3650d/],
    [rule('history: { events: 0 }'), /a whole number from 1/],
    [rule('history: { events: 1.5 }'), /a whole number/],
    [rule('history: { events: "5" }'), /a whole number/],
    [rule('history: { bytes: 8mib }'), /"8mib" is not a size/],
    [rule('history: { bytes: 9999GiB }'), /to 1024GiB/],
    [rule('maxBody: 1.5'), /is not a size/],
    [rule('maxBody: 0'), /is not a size from 1 B/],
    [rule('maxBody: .inf'), /is not a size/],
    [rule('rate: { publish: 10 }'), /"10" is not a rate/],
    [rule('rate: { publish: 0/s }'), /is not a rate/],
    [rule('rate: { publish: 10/d }'), /is not a rate/],
    [rule('rate: { burst: 5 }'), /rate: publish is missing/],
    [rule('slow: faster'), /"faster" is not one of catch-up, newest, close/],
    [rule('transient: true\n    history: { events: 5 }'), /transient channel has no history/],
    ['channels: [{ match: 7 }]', /^1:21: channels\[0\]\.match: "7" is not text; put it in quotes/],
    ['channels: [{ match: {user} }]', /an object is not text; put it in quotes/],
    ['channels: [{ match: "" }]', /"" is empty/],
    ['channels: [{ match: "a:**" }]', /^1:21: .*"a:\*\*" has `\*\*`/],
    ['channels: [{ match: "a::b" }]', /empty segment/],
    ['channels: [{ match: "^a.*$" }]', /regular expressions/],
    ['channels: [{ match: "inbox:{id}" }]', /braces/],
    ['channels: [{ match: "fanwire:lives:*" }]', /the node's own/],
    ['channels: [{ match: "caf\u00e9" }]', /no channel name has/],
    ['channels: [{ match: "inbox:{user}", subscribe: anyone }]', /\{user\} lets in one user only/],
    ['channels: [{ match: "inbox:{user}", publish: [anyone] }]', /publish is anyone, but/],
    ['channels:\n  - match: *\n', /^2:1\d: .*\* is put in quotes/],
    ['channels:\n  - match: *:x\n', /^2:12: .*\* is put in quotes/],
    [
      'channels:\n  - match: a\n  - { match: b }\n  - match: a\n',
      /^4:5: channels\[2\]\.match: "a" has a rule already, in line 2/,
    ],
    [
      'webhooks:\n  - &a { url: "https://a.b", events: ["*"] }\n  - { url: "https://a.b", events: ["*"], channels: [a] }\n  - *a\n',
      /^4:5: webhooks\[2\]: line 2 has the same url, events and channels/,
    ],
    ['channels:\n  - match: a\n    match: b\n', /^3:5: channels\[0\]: match occurs twice/],
    ['channels: []\nchannels: []\n', /^2:1: .*channels occurs twice/],
    ['channels: []\n---\nchannels: []\n', /^2:1: .*multiple documents/i],
    ['channels: [', /^1:12: /],
    ['channels:\n\t- match: a', /^2:1: .*[Tt]abs/],
    ['{"channels": [}', /^1:15: /, /^1:15: /],
    ['default: { match: a }', /^1:12: default: unknown member "match"/],
    ['default: !!binary aGk=', /./],
    ['default: !mine {}', /^1:10: .*!mine/],
    [
      'default: { subscribe: all, presence: 1 }\nchannels: [{}]\n',
      /^1:23: default\.subscribe/,
      /^1:38: default\.presence/,
      /^2:12: channels\[0\]: match is missing/,
    ],
  ]
  for (const [text, ...expected] of table) {
    const problems = problemsOf(text)
    t.match(problems, expected, text)
    t.equal(problems.length, expected.length, `${problems.length} problems`)
  }
})

t.test('anchors are accepted, and are harmless', async t => {
  const shared = parseRules(
    'default: &d { subscribe: user }\nchannels: [{ match: a, subscribe: &s [user, token] }, { match: b, subscribe: *s }]',
  )
  t.strictSame(shared.of('b').subscribe, ['user', 'token'])
  t.match(problemsOf('default: &d\n  history: *d\n'), [/unknown member "history"/])
  const bomb = Array.from({ length: 30 }, (_, i) => `  - &a${i} [${`*a${i - 1},`.repeat(9)}]`)
  const text = `channels:\n  - &a-1 {match: a}\n${bomb.join('\n')}\n`
  t.match(problemsOf(text)[0], /a list is not an object/)
})

t.test('a large file reports at most 50 problems, and a larger one is not read', async t => {
  t.equal(problemsOf(`channels:\n${'  - 7\n'.repeat(1000)}`).length, 50)
  t.match(problemsOf(' '.repeat(4 * 2 ** 20 + 1)), [/larger than 4 MiB/])
})

t.test('it is known whether any channel has a rate, open publishing or presence', async t => {
  const { limitRates, letAnyonePublish, keepPresence } = parseRules('channels: [{ match: a, publish: key }]')
  t.strictSame([limitRates, letAnyonePublish, keepPresence], [false, false, false])
  for (const [members, known] of [
    ['rate: { publish: 1/s }', { limitRates: true, letAnyonePublish: false }],
    ['publish: anyone', { letAnyonePublish: true, keepPresence: false }],
    ['publish: hook', { letAnyonePublish: true }],
    ['presence: true', { keepPresence: true, limitRates: false }],
  ] as const) {
    t.match(parseRules(`channels: [{ match: b }, { match: a, ${members} }]`), known, members)
    t.match(parseRules(`default: { ${members} }`), known, members)
  }
})

t.test('a file that is nested too deeply is rejected', async t => {
  for (const text of ['[', '{a: ', 'a: {b: ', '- ', 'x: [{']) {
    t.match(problemsOf(text.repeat(10_000))[0], /./, text)
  }
})

t.test('without a file, a node is closed, or open on loopback', async t => {
  t.match(CLOSED_RULES.of('a'), { subscribe: ['token'], publish: ['nobody'] })
  t.equal(CLOSED_RULES.open, undefined)
  t.match(openRules({ keys: false }), {
    open: 'all',
    default: { subscribe: ['anyone'], publish: ['anyone'] },
  })
  t.match(openRules({ keys: true }), { open: 'but-keys', default: { publish: ['key'] } })
})

// The schema agrees with the parser, except on rules that no schema can express.

const valid = new Ajv({ strict: true, allowUnionTypes: true }).compile(rulesSchema())
/** Problems that the schema cannot express: contradictions, limits of units, and patterns of valid characters. */
const BEYOND_SCHEMA =
  /nobody with others|lets in one user only|no history|has a rule already|is not a (duration|size|rate)|`\*\*`|the node's own|dot segment/

t.test('the schema agrees with the parser', async t => {
  t.ok(
    valid({
      $schema: 'x',
      channels: [{ match: 'chat:*', subscribe: ['token', 'hook'], history: { age: '7d' } }],
    }),
  )
  const word = fc.constantFrom<unknown>(
    'anyone',
    'user',
    'token',
    'hook',
    'nobody',
    'key',
    'all',
    7,
    null,
    true,
  )
  const scalar = fc.oneof(
    word,
    fc.constantFrom<unknown>('7d', '10/s', '64KiB', 0, 1, 5, 1.5, -1, 'a:*', '', [], {}),
  )
  const some = (...values: unknown[]) =>
    fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...values) }, scalar)
  const members = {
    subscribe: fc.oneof(word, fc.array(word, { maxLength: 3 })),
    publish: fc.oneof(word, fc.array(word, { maxLength: 3 })),
    history: fc.oneof(
      scalar,
      fc.record(
        { events: some(5), age: some('7d'), bytes: some('8MiB', 100), x: scalar },
        { requiredKeys: [] },
      ),
    ),
    presence: some(true, false),
    maxBody: some('64KiB', 65536),
    rate: fc.oneof(scalar, fc.record({ publish: some('10/s'), burst: some(5) }, { requiredKeys: [] })),
    transient: some(true, false),
    slow: some('catch-up', 'newest', 'close'),
    wrong: scalar,
  }
  const match = some('a', 'a:*', '{user}', 'a::b', 'a*', '**', 'é', 'a:{user}:b')
  const rule = fc.record({ match, ...members }, { requiredKeys: [] })
  const file = fc.record(
    {
      channels: fc.oneof(scalar, fc.array(rule, { maxLength: 2 })),
      default: fc.record(members, { requiredKeys: [] }),
    },
    { requiredKeys: [] },
  )
  fc.assert(
    fc.property(file, file => {
      const problems = problemsOf(JSON.stringify(file))
      const structural = problems.filter(problem => !BEYOND_SCHEMA.test(problem))
      if (problems.length === 0) return valid(file)
      return structural.length === 0 || !valid(file)
    }),
    { numRuns: 3000 },
  )
})

t.test('rules.schema.json is the schema (npm run schema writes it)', async t => {
  const shipped: unknown = JSON.parse(
    readFileSync(join(import.meta.dirname, '../../../../rules.schema.json'), 'utf8'),
  )
  t.strictSame(shipped, JSON.parse(JSON.stringify(rulesSchema())))
})

t.test('any file gives rules or problems', async () => {
  const piece = fc.constantFrom(
    'channels',
    'match',
    ':',
    ': ',
    '\n',
    '  ',
    '- ',
    '*',
    '&a',
    '*a',
    '{',
    '}',
    '[',
    ']',
    '"',
    "'",
    '#',
    '|',
    '>',
    '!!map',
    '? ',
    'default',
    'a:*',
    '---',
    '%',
    '\t',
    '\0',
    '7d',
    '<<: ',
  )
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.array(piece, { maxLength: 30 }).map(all => all.join('')),
  )
  fc.assert(
    fc.property(text, text => problemsOf(text).every(problem => problem.length > 3)),
    { numRuns: 3000 },
  )
})
