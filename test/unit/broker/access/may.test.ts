// The access decision, as a table of identities, rights and channels, and the reason of each refusal.

import fc from 'fast-check'
import t from 'tap'
import { createApiKeys, makeApiKey, parseKeysFile } from '../../../../services/broker/access/api-keys.ts'
import {
  capsGrants,
  grant,
  type Grants,
  type GrantSource,
  RIGHTS,
  type Right,
} from '../../../../services/broker/access/grants.ts'
import { ANONYMOUS, type Identity, withChannelTokens } from '../../../../services/broker/access/identity.ts'
import { may } from '../../../../services/broker/access/may.ts'
import { CLOSED_RULES, openRules } from '../../../../services/broker/rules/make.ts'
import { parseRules } from '../../../../services/broker/rules/parse.ts'
import type { Rules } from '../../../../services/broker/rules/rules.ts'

const RULES = parseRules(`
channels:
  - { match: news, subscribe: anyone, publish: key }
  - { match: "wall:*", subscribe: anyone, publish: [user, token], presence: true }
  - { match: "team:*", subscribe: user, publish: user }
  - { match: "chat:*", subscribe: [token, hook], publish: token, presence: true }
  - { match: "inbox:{user}", subscribe: user, presence: true }
  - { match: "outbox:{user}", subscribe: token, publish: token }
  - { match: "app:*", subscribe: hook }
  - { match: "mixed:*", subscribe: [user, token], presence: false }
  - { match: "secret:*", subscribe: nobody }
`)

function grants(source: GrantSource, ...caps: unknown[]): Grants {
  const read = capsGrants(source, caps)
  if (typeof read === 'string') throw new Error(read)
  return read
}

const ALL = { channels: ['*'], allow: ['sub', 'pub', 'hst', 'prs'] }

function bearer(user: string, ...caps: unknown[]): Identity {
  return withChannelTokens({ ...ANONYMOUS, kind: 'token', user }, [grants('token', ...caps)])
}

function server(allow: readonly Right[], channels: readonly string[]): Identity {
  const made = makeApiKey('server', allow, channels)
  const found = createApiKeys(parseKeysFile(JSON.stringify([made.entry]))).find(made.key)
  if (!found.ok) throw new Error('the key is not found')
  return found.identity
}

const WHO = {
  nobody: ANONYMOUS,
  ann: bearer('ann'),
  'ann, sub on chat': bearer('ann', { channels: ['chat:*'], allow: ['sub'] }),
  'ann, all': bearer('ann', ALL),
  'nameless, all': bearer('', ALL),
  'ann of a hook': withChannelTokens({ ...ANONYMOUS, kind: 'hook', user: 'ann' }, [grants('hook', ALL)]),
  'key, all': server([...RIGHTS], ['*']),
  'key, publish': server(['publish'], ['*']),
  'key, all of chat': server([...RIGHTS], ['chat:*']),
  // Only keys have admin, whatever the grants of a user.
  'ann with admin': {
    ...bearer('ann'),
    grants: [{ source: 'token', list: [{ origin: 'x', channels: ['*'], rights: 31 }] }],
  },
} as const satisfies Record<string, Identity>

type Who = keyof typeof WHO

const letters = { s: 'subscribe', h: 'history', r: 'presence', p: 'publish', a: 'admin' } as const

/** The rights of an identity on a channel, one letter each. */
function rightsOn(who: Who, channel: string, rules: Rules): string {
  return Object.entries(letters)
    .filter(([, right]) => may(WHO[who], right, channel, rules).allowed)
    .map(([letter]) => letter)
    .join('')
}

t.test('rules decide on subscribe, history, presence, publish and admin', async t => {
  const table: Readonly<Record<string, Partial<Record<Who, string>>>> = {
    news: {
      nobody: 'sh',
      ann: 'sh',
      'ann, all': 'sh',
      'key, all': 'shrpa',
      'key, publish': 'p',
      'key, all of chat': '',
    },
    'wall:1': {
      nobody: 'shr',
      ann: 'shrp',
      'nameless, all': 'shrp',
      'ann of a hook': 'shrp',
      'key, publish': 'p',
    },
    'team:1': { nobody: '', ann: 'shp', 'ann, all': 'shp', 'nameless, all': '', 'key, all': 'shrpa' },
    'chat:1': {
      nobody: '',
      ann: '',
      'ann, sub on chat': 's',
      'ann, all': 'shrp',
      'nameless, all': 'shrp',
      'ann of a hook': 'shr',
      'key, all of chat': 'shrpa',
      'ann with admin': 'shrp',
    },
    'inbox:ann': { nobody: '', ann: 'shr', 'ann, all': 'shr', 'ann of a hook': 'shr', 'key, publish': 'p' },
    'inbox:bob': { nobody: '', ann: '', 'ann, all': '', 'nameless, all': '', 'key, all': 'shrpa' },
    'inbox:': { nobody: '', 'nameless, all': '' },
    'inbox:ann:x': { nobody: '', ann: '', 'ann, all': 'shr' },
    'outbox:ann': { ann: '', 'ann, all': 'shrp', 'ann of a hook': '' },
    'outbox:bob': { 'ann, all': '' },
    'app:1': { nobody: '', 'ann, all': '', 'ann of a hook': 'shr' },
    'mixed:1': { nobody: '', ann: 'sh', 'ann, all': 'shr', 'nameless, all': 'shr' },
    'secret:1': { nobody: '', 'ann, all': '', 'ann of a hook': '', 'key, all': 'shrpa' },
    other: { nobody: '', ann: '', 'ann, all': 'shr', 'ann, sub on chat': '', 'key, publish': 'p' },
  }
  for (const [channel, row] of Object.entries(table)) {
    for (const [who, rights] of Object.entries(row)) {
      t.equal(rightsOn(who as Who, channel, RULES), rights, `${who} on ${channel}`)
    }
  }
})

t.test('the decision without a rules file depends on keys and on the host', async t => {
  const table: readonly [string, Rules, Partial<Record<Who, string>>][] = [
    [
      'closed',
      CLOSED_RULES,
      { nobody: '', ann: '', 'ann, all': 'shr', 'key, publish': 'p', 'key, all': 'shrpa' },
    ],
    ['open', openRules({ keys: false }), { nobody: 'shrpa', ann: 'shrpa', 'key, publish': 'shrpa' }],
    [
      'open, with keys',
      openRules({ keys: true }),
      { nobody: 'shr', 'ann, all': 'shr', 'key, publish': 'shrp', 'key, all': 'shrpa' },
    ],
  ]
  for (const [name, rules, row] of table) {
    for (const [who, rights] of Object.entries(row)) {
      t.equal(rightsOn(who as Who, 'chat:1', rules), rights, `${name}: ${who}`)
    }
  }
})

t.test('actions on the whole node need admin on *', async t => {
  const allowed = (who: Who) => may(WHO[who], 'admin', undefined, RULES).allowed
  t.ok(allowed('key, all'))
  for (const who of ['nobody', 'ann, all', 'ann with admin', 'key, publish', 'key, all of chat'] as const) {
    t.notOk(allowed(who), who)
  }
})

t.test("presence channels need the right presence, the node's other channels the right admin", async t => {
  const table: readonly [string, Partial<Record<Who, string>>][] = [
    [
      'fanwire:presence:chat:1',
      { nobody: '', 'ann, sub on chat': '', 'ann, all': 'sh', 'key, all of chat': 'sh' },
    ],
    ['fanwire:presence:wall:1', { nobody: 'sh', 'key, publish': '' }],
    ['fanwire:presence:news', { nobody: '', 'ann, all': '' }],
    ['fanwire:presence:inbox:ann', { ann: 'sh' }],
    ['fanwire:presence:inbox:bob', { ann: '', 'ann, all': '' }],
    ['fanwire:presence:fanwire:presence:wall:1', { nobody: '', 'key, all': '' }],
    ['fanwire:presence:fanwire:lives:0', { nobody: '', 'key, all': '' }],
    [
      'fanwire:lives:0',
      { nobody: '', 'ann, all': '', 'key, all': 'sh', 'key, publish': '', 'key, all of chat': '' },
    ],
    ['fanwire:other', { nobody: '', 'ann, all': '', 'key, all': 'sh' }],
  ]
  for (const [channel, row] of table) {
    for (const [who, rights] of Object.entries(row)) {
      t.equal(rightsOn(who as Who, channel, RULES).replace('a', ''), rights, `${who} on ${channel}`)
    }
  }
})

t.test('a channel token adds to the grants of a connection', async t => {
  const more = grants('token', { channels: ['chat:9'], allow: ['sub'] })
  t.ok(may(withChannelTokens(WHO.ann, [more]), 'subscribe', 'chat:9', RULES).allowed)
  t.ok(may(withChannelTokens(ANONYMOUS, [more]), 'subscribe', 'chat:9', RULES).allowed)
  t.notOk(may(withChannelTokens(WHO.ann, [more]), 'history', 'chat:9', RULES).allowed)
  t.notOk(may(withChannelTokens(WHO.ann, [more]), 'subscribe', 'secret:9', RULES).allowed)
})

/** A channel token, or the application's answer about a channel. `endsAt`: ms; without it, it does not end. */
function channelToken(source: GrantSource, endsAt: number | undefined, ...list: Grants['list']): Grants {
  return { source, list, channelToken: { endsAt, signer: undefined, issuedAt: undefined } }
}

t.test('channel tokens add up in any order, whatever their rights, ends and sources', async t => {
  const sub = grant('x', ['a'], ['subscribe'])
  const hst = grant('x', ['a', 'b'], ['history'])
  const filtered = capsGrants('hook', [{ channels: ['a'], allow: ['sub'], filter: { key: 'k', cmp: 'ex' } }])
  if (typeof filtered === 'string') throw new Error(filtered)
  const pairs: Readonly<Record<string, readonly [Grants, Grants]>> = {
    rights: [channelToken('token', 1, sub), channelToken('token', 1, hst)],
    ends: [channelToken('token', undefined, sub), channelToken('token', 1, sub, hst)],
    sources: [channelToken('token', 1, sub), channelToken('hook', 2, sub, hst)],
    channels: [channelToken('token', 1, hst), channelToken('token', 2, grant('x', ['a'], ['history']))],
    filters: [channelToken('hook', 1, sub), channelToken('hook', 2, ...filtered.list)],
  }
  for (const [name, [one, other]] of Object.entries(pairs)) {
    t.strictSame(
      withChannelTokens(withChannelTokens(WHO.ann, [one]), [other]).grants.slice(1),
      [one, other],
      name,
    )
    t.strictSame(
      withChannelTokens(withChannelTokens(WHO.ann, [other]), [one]).grants.slice(1),
      [other, one],
      name,
    )
  }
})

t.test('a channel token replaces those that it contains, such as by a renewal', async t => {
  const sub = grant('x', ['a'], ['subscribe'])
  const filter = { key: 'k', cmp: 'ex' }
  const filtered = () => {
    const read = capsGrants('hook', [{ channels: ['a'], allow: ['sub'], filter }])
    if (typeof read === 'string') throw new Error(read)
    return channelToken('hook', 1, ...read.list)
  }
  const pairs: Readonly<Record<string, readonly [Grants, Grants]>> = {
    'a later end': [channelToken('token', 1, sub), channelToken('token', 2, sub)],
    'a repeated signature': [channelToken('token', undefined, sub), channelToken('token', undefined, sub)],
    'more rights and channels': [
      channelToken('token', 1, sub),
      channelToken('token', undefined, grant('x', ['b', 'a'], ['history', 'subscribe'])),
    ],
    'the same filter': [filtered(), filtered()],
    'no filter': [filtered(), channelToken('hook', 1, sub)],
  }
  for (const [name, [earlier, later]] of Object.entries(pairs)) {
    const both = withChannelTokens(withChannelTokens(WHO.ann, [earlier]), [later])
    t.equal(both.grants.length, 2, name)
    t.equal(both.grants[1], later, name)
  }
})

t.test('a refusal names the missing right and its target, and no rules', async t => {
  const refusal = (who: Who, right: Right, channel: string | undefined) => {
    const { allowed, why, challenge } = may(WHO[who], right, channel, RULES)
    return { allowed, why, challenge }
  }
  t.strictSame(refusal('nobody', 'subscribe', 'chat:1'), {
    allowed: false,
    why: 'the right subscribe on channel "chat:1" needs a token or a key',
    challenge: 'authenticate',
  })
  t.strictSame(refusal('ann', 'history', 'chat:1'), {
    allowed: false,
    why: 'the token lacks the right history on channel "chat:1"',
    challenge: 'insufficient_scope',
  })
  t.equal(refusal('key, publish', 'admin', undefined).why, 'the key lacks the right admin on the node')
  const same = (channel: string) => refusal('ann', 'publish', channel).why.replace(channel, '…')
  t.equal(same('secret:1'), same('no-rule-at-all'))
  t.equal(same('inbox:bob'), same('no-rule-at-all'))
})

t.test('the explanation for the operator names the deciding rule or claim', async t => {
  const words = (who: Who, right: Right, channel: string, rules = RULES) =>
    may(WHO[who], right, channel, rules).explanation
  const table: readonly [string, RegExp][] = [
    [words('nobody', 'subscribe', 'news'), /^rule "news" \(line 3\): subscribe is anyone$/],
    [
      words('ann', 'publish', 'team:1'),
      /^rule "team:\*" \(line 5\): publish is user, and the user is "ann"$/,
    ],
    [
      words('ann, sub on chat', 'subscribe', 'chat:1'),
      /^rule "chat:\*" \(line 6\): caps\[0\] grants subscribe on chat:\*$/,
    ],
    [
      words('ann, sub on chat', 'publish', 'chat:1'),
      /publish is token; the user is "ann"; its grants are subscribe on chat:\* \(caps\[0\]\)$/,
    ],
    [
      words('ann', 'subscribe', 'inbox:bob'),
      /^rule "inbox:\{user\}" \(line 7\): \{user\} is not the user "ann" in channel "inbox:bob"$/,
    ],
    [words('nobody', 'presence', 'news'), /subscribe is anyone, and the channel keeps no presence$/],
    [
      words('ann', 'subscribe', 'zzz'),
      /^the default rule: subscribe is token; the user is "ann"; it has no grants$/,
    ],
    [words('key, all', 'publish', 'zzz'), /^key server grants publish on \*$/],
    [
      words('key, publish', 'subscribe', 'news'),
      /^key server does not grant subscribe on channel "news"; its grants are publish on \*/,
    ],
    [words('ann, all', 'admin', 'news'), /^admin is a right of API keys only$/],
    [words('ann', 'publish', 'fanwire:lives:0'), /reserved for the node$/],
    [
      words('nobody', 'subscribe', 'a', openRules({ keys: true })),
      /^there is no rules file, and on loopback/,
    ],
    [
      words('nobody', 'publish', 'a', openRules({ keys: true })),
      /^there is no rules file, and publishing needs an API key$/,
    ],
  ]
  for (const [text, expected] of table) t.match(text, expected)
})

t.test('more grants never allow less', async () => {
  const pattern = fc.constantFrom('chat:*', 'inbox:ann', '*', 'other', 'mixed:*')
  const cap = fc.record({
    channels: fc.array(pattern, { minLength: 1 }),
    allow: fc.array(fc.constantFrom('sub', 'pub', 'hst', 'prs')),
  })
  const channel = fc.constantFrom(
    'news',
    'chat:1',
    'inbox:ann',
    'inbox:bob',
    'other',
    'mixed:1',
    'secret:1',
    'fanwire:presence:chat:1',
  )
  fc.assert(
    fc.property(fc.array(cap), cap, fc.constantFrom(...RIGHTS), channel, (caps, more, right, channel) => {
      const before = may(bearer('ann', ...caps), right, channel, RULES)
      const after = may(bearer('ann', more, ...caps), right, channel, RULES)
      const anonymous = may(ANONYMOUS, right, channel, RULES)
      return (
        (after.allowed || !before.allowed) &&
        (before.allowed || !anonymous.allowed) &&
        before.explanation.length > 10
      )
    }),
    { numRuns: 2000 },
  )
})
