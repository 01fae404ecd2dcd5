// Tokens: the identity of each accepted one, and the reason of each rejection.

import { createPublicKey } from 'node:crypto'
import { mock } from 'node:test'
import fc from 'fast-check'
import t from 'tap'
import { findGrant } from '../../../../services/broker/access/grants.ts'
import { KEPT_MS, VerifiedTokens } from '../../../../services/broker/access/verified-tokens.ts'
import { NO_KEYS, parseJwks, type TokenKeys } from '../../../../services/broker/access/jwks.ts'
import {
  createTokens,
  type KeySource,
  LONGEST_TOKEN,
  REFUSALS,
  type RefusalReason,
} from '../../../../services/broker/access/tokens.ts'
import {
  jwks,
  secretKey,
  segment,
  signToken,
  type TestKey,
  testKey,
  userClaims,
} from '../../../support/tokens.ts'

const HS = testKey('HS256', 'hs')
const RS = testKey('RS256', 'rs', { iss: 'https://issuer.example', aud: 'fanwire' })
const ES = testKey('ES256', 'es', { aud: ['fanwire', 'other'] })
const NOW = Date.parse('2026-11-26T12:00:00Z')
const SECOND = 1000

function sourceOf(keys: TokenKeys): KeySource {
  return { keys, known: true, refresh: async () => false }
}

const TOKENS = createTokens({ source: sourceOf(parseJwks(jwks(HS, RS, ES))) })
const claims = (more: Record<string, unknown> = {}) => userClaims('ann', more, NOW)
const hs = (more: Record<string, unknown> = {}, header: Record<string, unknown> = {}) =>
  signToken(HS, claims(more), header)
const times = (seconds: number) => NOW / SECOND + seconds

t.test('a token is valid for its user and its lifetime', async t => {
  const result = TOKENS.verify(
    hs({ info: { name: 'Ann' }, meta: 7, caps: [{ channels: ['chat:*'], allow: ['sub'] }] }),
    NOW,
  )
  if (!result.ok) return t.fail(result.message)
  t.match(result.identity, {
    kind: 'token',
    user: 'ann',
    key: undefined,
    issuedAt: NOW / SECOND,
    expiresAt: NOW / SECOND + 3600,
    connectionEndsAt: NOW / SECOND + 3610,
    info: { name: 'Ann' },
    meta: 7,
  })
  t.ok(findGrant(result.identity.grants, 'token', 'subscribe', 'chat:1'))
})

t.test('tokens of every algorithm are verified', async t => {
  for (const alg of [
    'HS256',
    'HS384',
    'HS512',
    'RS256',
    'RS384',
    'RS512',
    'PS256',
    'PS384',
    'PS512',
    'ES256',
    'ES384',
    'ES512',
    'EdDSA',
  ]) {
    const [key, other] = [testKey(alg), testKey(alg)]
    const tokens = createTokens({ source: sourceOf(parseJwks(jwks(key))) })
    t.ok(tokens.verify(signToken(key, claims()), NOW).ok, alg)
    t.ok(
      tokens.verify(signToken(key, claims(), { kid: undefined, typ: undefined }), NOW).ok,
      `${alg} without kid and typ`,
    )
    t.match(tokens.verify(signToken({ ...other, kid: key.kid }, claims()), NOW), { reason: 'signature' }, alg)
  }
})

t.test('issuer and audience must be those of the key', async t => {
  const rs = (more: Record<string, unknown>) => TOKENS.verify(signToken(RS, claims(more)), NOW)
  const good = { iss: 'https://issuer.example', aud: 'fanwire' }
  t.ok(rs(good).ok)
  t.ok(rs({ ...good, aud: ['else', 'fanwire'] }).ok)
  t.ok(TOKENS.verify(signToken(ES, claims({ aud: 'other' })), NOW).ok)
  t.match(rs({ aud: 'fanwire' }), { reason: 'issuer' })
  t.match(rs({ ...good, iss: 'https://issuer.example/' }), { reason: 'issuer' })
  t.match(rs({ ...good, aud: 'fanwire2' }), { reason: 'audience' })
  t.match(rs({ ...good, aud: [] }), { reason: 'audience' })
  t.match(rs({ iss: 'https://issuer.example' }), { reason: 'audience' })
})

t.test('times have a leeway of 10 s', async t => {
  const table: readonly [Record<string, unknown>, RefusalReason | 'ok'][] = [
    [{ exp: times(-9) }, 'ok'],
    [{ exp: times(-10) }, 'expired'],
    [{ exp: 0 }, 'expired'],
    [{ exp: undefined }, 'ok'],
    [{ nbf: times(10) }, 'ok'],
    [{ nbf: times(11) }, 'not_yet'],
    [{ expire_at: times(60) }, 'ok'],
    [{ expire_at: times(-10) }, 'expired'],
    [{ expire_at: 0 }, 'ok'],
  ]
  for (const [more, expected] of table) {
    const result = TOKENS.verify(hs(more), NOW)
    t.equal(result.ok ? 'ok' : result.reason, expected, JSON.stringify(more))
  }
})

t.test('a connection ends at expire_at, or at exp without one; an expire_at of 0 means never', async t => {
  const ends = (more: Record<string, unknown>) => {
    const result = TOKENS.verify(hs(more), NOW)
    return result.ok ? result.identity.connectionEndsAt : result.reason
  }
  t.equal(ends({ expire_at: times(60) }), NOW / SECOND + 70)
  t.equal(ends({ expire_at: times(60.2) }), NOW / SECOND + 71, 'whole seconds, not too early')
  t.equal(ends({ expire_at: 0 }), undefined)
  t.equal(ends({ exp: undefined }), undefined)
  t.equal(ends({ exp: times(5), expire_at: times(60) }), NOW / SECOND + 70)
})

/** A token signed with HS256 and the RSA public key, which everybody has, as its secret. */
function confused(): string {
  const pem = createPublicKey({ key: RS.jwk as never, format: 'jwk' }).export({ type: 'spki', format: 'pem' })
  return signToken(secretKey('HS256', 'rs', {}, String(pem)), claims())
}

t.test('each invalid token has its reason, and a message of fewer than 200 characters', async t => {
  const good = hs()
  const [head = '', body = '', signature = ''] = good.split('.')
  const headed = (header: Record<string, unknown>) => hs({}, header)
  const raw = (payload: unknown) => signToken(HS, payload)
  const caps = (value: unknown) => hs({ caps: value })
  const table: readonly [name: string, token: string, reason: RefusalReason, message?: RegExp][] = [
    ['empty', '', 'malformed'],
    ['no JWT', 'abc', 'malformed'],
    ['two parts', `${head}.${body}`, 'malformed'],
    ['five parts, encrypted', 'a.b.c.d.e', 'malformed'],
    ['padding', `${good}=`, 'malformed'],
    ['a line break', `${head}.${body}\n.${signature}`, 'malformed'],
    ['a header that is not JSON', `${segment('{')}.${body}.${signature}`, 'malformed'],
    ['a header that is a list', `${segment([])}.${body}.${signature}`, 'malformed'],
    ['a payload that is not JSON', raw('{'), 'malformed'],
    ['a payload that is a list', raw([]), 'malformed'],
    ['a payload that is null', raw(null), 'malformed'],
    ['100 KB', hs({ info: 'x'.repeat(100_000) }), 'too_large', /8192/],
    ['100 KB of dots', '.'.repeat(100_000), 'too_large'],
    ['none', `${segment({ alg: 'none', typ: 'JWT' })}.${body}.`, 'algorithm'],
    ['none with a kid', `${segment({ alg: 'none', kid: 'hs' })}.${body}.`, 'algorithm'],
    ['None', `${segment({ alg: 'None', kid: 'hs' })}.${body}.`, 'algorithm'],
    ['no alg', headed({ alg: undefined }), 'algorithm'],
    ['alg as a list', headed({ alg: ['HS256'] }), 'algorithm'],
    ['RS key as HS secret', confused(), 'algorithm'],
    ['RS token under the EC key', signToken({ ...RS, kid: 'es' }, claims()), 'algorithm'],
    ['HS512 under an HS256 key', headed({ alg: 'HS512' }), 'algorithm'],
    ['no kid, no such key', headed({ alg: 'HS384', kid: undefined }), 'algorithm'],
    ['unknown kid', headed({ kid: 'nobody' }), 'unknown_key'],
    ['kid as a path', headed({ kid: '../../../dev/null' }), 'unknown_key'],
    ['kid as a URL', headed({ kid: 'https://evil.example/jwks.json' }), 'unknown_key'],
    ['kid as a member of objects', headed({ kid: '__proto__' }), 'unknown_key'],
    ['kid as SQL', headed({ kid: "' OR 1=1" }), 'unknown_key'],
    ['empty kid', headed({ kid: '' }), 'unknown_key'],
    ['kid as a number', headed({ kid: 1 }), 'header'],
    ['kid as null', headed({ kid: null }), 'header'],
    ['jku', headed({ jku: 'https://evil.example/jwks.json' }), 'header', /jku/],
    ['jwk', headed({ jwk: HS.jwk }), 'header', /jwk/],
    ['x5u', headed({ x5u: 'https://evil.example/cert' }), 'header', /x5u/],
    ['x5c', headed({ x5c: ['MII'] }), 'header', /x5c/],
    ['crit', headed({ crit: ['exp'] }), 'header', /crit/],
    ['crit, empty', headed({ crit: [] }), 'header', /crit/],
    ['b64', headed({ b64: false }), 'header', /b64/],
    ['another typ', headed({ typ: 'logout+jwt' }), 'header', /typ/],
    ['no signature', `${head}.${body}.`, 'signature'],
    ['another signature', `${head}.${body}.${segment('x'.repeat(32))}`, 'signature'],
    ['another payload', `${head}.${segment(claims({ sub: 'root' }))}.${signature}`, 'signature'],
    [
      'a signature of zeros (ES256)',
      `${segment({ alg: 'ES256', kid: 'es' })}.${body}.${Buffer.alloc(64).toString('base64url')}`,
      'signature',
    ],
    ['exp as a string', hs({ exp: String(times(60)) }), 'claims', /exp is not a number/],
    ['exp as null', hs({ exp: null }), 'claims', /exp/],
    ['exp beyond 2^53', hs({ exp: 2 ** 53 }), 'claims', /exp is out of range/],
    ['exp beyond all numbers', raw(`{"sub":"ann","exp":1e999}`), 'claims', /exp is out of range/],
    ['exp below 0', hs({ exp: -1 }), 'claims', /exp/],
    ['nbf as a string', hs({ nbf: '1' }), 'claims', /nbf/],
    ['iat as a list', hs({ iat: [1] }), 'claims', /iat/],
    ['expire_at as a string', hs({ expire_at: '0' }), 'claims', /expire_at/],
    ['sub as a number', hs({ sub: 42 }), 'claims', /sub is not a string/],
    ['sub as an object', hs({ sub: {} }), 'claims', /sub/],
    ['a long sub', hs({ sub: 'x'.repeat(201) }), 'claims', /sub is longer/],
    ['sub with a line break', hs({ sub: 'a\nb' }), 'claims', /control characters/],
    ['sub in another Unicode form', hs({ sub: 'cafe\u0301' }), 'claims', /NFC/],
    ['sub with half a character', raw('{"sub":"\\ud800"}'), 'claims', /sub/],
    ['iss as a list', hs({ iss: ['a'] }), 'claims', /iss/],
    ['aud as a number', hs({ aud: 3 }), 'claims', /aud/],
    ['aud with a number', hs({ aud: ['a', 3] }), 'claims', /aud/],
    ['jti as a number', hs({ jti: 3 }), 'claims', /jti/],
    ['caps as an object', caps({}), 'claims', /caps is not a list/],
    ['caps as null', caps(null), 'claims', /caps is not a list/],
    ['a word that is not a right', caps([{ channels: ['a'], allow: ['read'] }]), 'claims', /"read"/],
    ['a pattern with **', caps([{ channels: ['a:**'], allow: ['sub'] }]), 'claims', /`\*\*`/],
    [
      'a regular expression',
      caps([{ channels: ['a.+|b'], allow: ['sub'] }]),
      'claims',
      /regular expressions/,
    ],
    ['an empty segment', caps([{ channels: ['a::b'], allow: ['sub'] }]), 'claims', /empty segment/],
    ['channels', hs({ channels: ['a'] }), 'claims', /channels lists channels to follow .* caps/],
    ['subs', hs({ subs: { a: {} } }), 'claims', /subs lists channels to follow .* caps/],
    ['a channel token', hs({ channel: 'a' }), 'wrong_kind', /channel token/],
    ['a channel token of null', hs({ channel: null }), 'wrong_kind'],
  ]
  for (const [name, token, reason, message = /./] of table) {
    const result = TOKENS.verify(token, NOW)
    t.match(result, { ok: false, reason, message }, name)
    t.ok(!result.ok && result.message.length < 200, name)
  }
  const seen = new Set(table.map(([, , reason]) => reason))
  const elsewhere = ['issuer', 'audience', 'expired', 'not_yet', 'revoked', 'keys_away', 'wrong_user']
  t.strictSame(
    REFUSALS.filter(reason => !seen.has(reason) && !elsewhere.includes(reason)),
    [],
  )
})

t.test('the largest token is accepted, one more character is rejected', async t => {
  const size = (length: number) => hs({ meta: 'x'.repeat(length) })
  let length = 5000
  while (size(length + 3).length <= LONGEST_TOKEN) length++
  t.ok(TOKENS.verify(size(length), NOW).ok)
  t.match(TOKENS.verify(size(length + 6), NOW), { reason: 'too_large' })
})

t.test('a channel token grants its channels to its user', async t => {
  const verify = (more: Record<string, unknown>, user = 'ann') => TOKENS.verifyChannel(hs(more), user, NOW)
  const granted = verify({ channel: 'room:9' })
  if (!granted.ok) return t.fail(granted.message)
  t.strictSame(granted.channels, ['room:9'])
  t.equal(granted.grants.channelToken?.endsAt, NOW + 3610 * SECOND)
  t.ok(findGrant([granted.grants], 'token', 'subscribe', 'room:9'))
  t.notOk(findGrant([granted.grants], 'token', 'history', 'room:9'))
  t.notOk(findGrant([granted.grants], 'token', 'subscribe', 'room:9:x'))
  const several = verify({ channel: ['a', 'b'], allow: ['sub', 'hst'] })
  t.ok(several.ok && findGrant([several.grants], 'token', 'history', 'b'))
  t.ok(
    TOKENS.verifyChannel(signToken(HS, { channel: 'a' }), '', NOW).ok,
    'no `sub`: valid for anonymous clients',
  )

  const table: readonly [Record<string, unknown>, RefusalReason][] = [
    [{}, 'wrong_kind'],
    [{ caps: [] }, 'wrong_kind'],
    [{ channel: 'a', caps: [] }, 'claims'],
    [{ channel: 3 }, 'claims'],
    [{ channel: null }, 'claims'],
    [{ channel: [] }, 'claims'],
    [{ channel: ['a', 3] }, 'claims'],
    [{ channel: 'chat:*' }, 'claims'],
    [{ channel: 'a%20b' }, 'claims'],
    [{ channel: 'fanwire:lives:0' }, 'claims'],
    [{ channel: 'a', allow: 'sub' }, 'claims'],
    [{ channel: 'a', allow: ['all'] }, 'claims'],
    [{ channel: 'a', sub: 'bob' }, 'wrong_user'],
    [{ channel: 'a', sub: undefined }, 'wrong_user'],
    [{ channel: 'a', exp: times(-10) }, 'expired'],
  ]
  for (const [more, reason] of table) t.match(verify(more), { ok: false, reason }, JSON.stringify(more))
})

t.test('a cached token is checked for its times and revocation on each use', async t => {
  let calls = 0
  const keys = parseJwks(jwks(HS))
  const counted: TokenKeys = {
    size: keys.size,
    has: id => keys.has(id),
    find: (kid, alg) => {
      const key = keys.find(kid, alg)
      if (key === undefined) return undefined
      const verify = (text: string, signature: Buffer) => {
        calls++
        return key.verify(text, signature)
      }
      return { ...key, verify }
    },
  }
  const source = { keys: counted, known: true, refresh: async () => false }
  const revoked = new Set<string>()
  const tokens = createTokens({ source, revoked: user => revoked.has(user), keepCharacters: 1000 })
  const token = hs()
  t.ok(tokens.verify(token, NOW).ok)
  for (let i = 0; i < 3; i++) t.ok(tokens.verify(token, NOW + 3609 * SECOND).ok)
  t.equal(calls, 2, 'the signature is verified until the token is seen again')
  t.match(tokens.verify(token, NOW + 3610 * SECOND), { reason: 'expired' })
  revoked.add('ann')
  t.match(tokens.verify(token, NOW), { reason: 'revoked' })
  revoked.clear()
  t.match(
    tokens.verify(`${token.slice(0, -4)}AAAA`, NOW),
    { reason: 'signature' },
    'a token with another signature is not in the cache',
  )

  for (let i = 0; i < 20; i++) {
    const other = hs({ jti: String(i) })
    for (let times = 0; times < 2; times++) tokens.verify(other, NOW)
  }
  calls = 0
  tokens.verify(token, NOW)
  t.equal(calls, 1, 'a full cache makes room')
  source.keys = NO_KEYS
  t.match(tokens.verify(token, NOW), { reason: 'unknown_key' }, 'a cached token is rejected without its key')
})

t.test('a token that is not used again is forgotten', async t => {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  const verified = new VerifiedTokens(10_000)
  const opened = { ok: true, claims: {}, grants: [] } as const
  let asked = 0
  const show = (token: string) =>
    verified.get(token, NO_KEYS, () => {
      asked++
      return opened
    })
  show('once')
  t.equal(verified.size, 0, 'a token that came once is not cached')
  for (const token of ['a', 'a', 'b', 'b']) show(token)
  t.equal(verified.size, 2)
  asked = 0
  mock.timers.tick(KEPT_MS)
  t.equal(show('a'), opened)
  t.equal(asked, 0, 'a used token stays in the cache')
  mock.timers.tick(KEPT_MS)
  t.equal(verified.size, 1, 'the unused token is forgotten')
  show('a')
  t.equal(asked, 0)
  mock.timers.tick(2 * KEPT_MS)
  t.equal(verified.size, 0)
  show('a')
  t.equal(asked, 1)
})

t.test('claims stored with a ticket are checked again', async t => {
  const revoked = new Set<string>()
  const source = { keys: parseJwks(jwks(HS)), known: true, refresh: async () => false }
  const tokens = createTokens({ source, revoked: user => revoked.has(user) })
  const result = tokens.verify(hs({ caps: [{ channels: ['a'], allow: ['sub'] }] }), NOW)
  if (!result.ok) return t.fail(result.message)
  const stored: typeof result.claims = JSON.parse(JSON.stringify(result.claims))
  t.strictSame(tokens.accept(stored, NOW), { ...result, claims: stored })
  t.match(tokens.accept(stored, NOW + 3610 * SECOND), { reason: 'expired' })
  revoked.add('ann')
  t.match(tokens.accept(stored, NOW), { reason: 'revoked' })
  revoked.clear()
  source.keys = parseJwks(jwks(testKey('HS256', HS.kid)))
  t.match(tokens.accept(stored, NOW), { reason: 'unknown_key' }, 'claims of a removed key are rejected')
  t.notOk(tokens.knows(stored.signer ?? ''))
  source.keys = parseJwks(jwks(testKey('ES256'), HS))
  t.ok(tokens.accept(stored, NOW).ok, 'the same key in another set is accepted')
  const forged = tokens.verify(hs({ signer: 'x' }), NOW)
  t.ok(forged.ok && forged.identity.signer !== 'x', 'no claim sets the signer')
})

t.test('keys are requested when they are not loaded yet or a key is unknown, and only then', async t => {
  const source = {
    keys: NO_KEYS,
    known: false,
    asked: 0,
    refresh: async () => {
      source.asked++
      source.keys = parseJwks(jwks(HS))
      source.known = true
      return source.asked === 1
    },
  }
  const tokens = createTokens({ source })
  t.match(tokens.verify(hs(), NOW), { reason: 'keys_away' })
  t.match(tokens.accept({ sub: 'ann', signer: 'unread' }, NOW), { reason: 'keys_away' })
  t.ok((await tokens.authenticate(hs(), () => NOW)).ok)
  t.match(await tokens.authenticate(hs({}, { kid: 'x' }), () => NOW), { reason: 'unknown_key' })
  t.ok((await tokens.authenticateChannel(hs({ channel: 'a' }), 'ann', () => NOW)).ok)
  t.match(await tokens.authenticate(hs({ exp: 1 }), () => NOW), { reason: 'expired' })
  t.equal(source.asked, 2, 'keys are not requested for other reasons')
})

t.test('tokens with equal grants share one list', async t => {
  const identity = (user: string) => {
    const result = TOKENS.verify(
      signToken(HS, userClaims(user, { caps: [{ channels: ['c:*'], allow: ['sub'] }] }, NOW)),
      NOW,
    )
    return result.ok ? result.identity : undefined
  }
  t.equal(identity('a')?.grants, identity('b')?.grants)
  t.equal(identity('a')?.grants.length, 1)
})

/** Malformed tokens: parts are swapped, cut, repeated, or arbitrary. */
function strange(key: TestKey) {
  const value = fc.oneof(
    fc.anything(),
    fc.constantFrom<unknown>('none', 'HS256', 'RS256', 'hs', 'rs', {}, [], null),
  )
  const header = fc.dictionary(fc.constantFrom('alg', 'kid', 'typ', 'jwk', 'crit', 'x'), value)
  const payload = fc.dictionary(
    fc.constantFrom(
      'sub',
      'exp',
      'nbf',
      'iat',
      'iss',
      'aud',
      'caps',
      'channel',
      'allow',
      'expire_at',
      '__proto__',
    ),
    fc.jsonValue(),
  )
  const part = fc.oneof(fc.string(), header.map(json), payload.map(json), fc.constant(''))
  return fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.array(part, { maxLength: 5 }).map(parts => parts.map(text => segment(text)).join('.')),
    payload.map(claims => signToken(key, claims)),
    fc.tuple(header, payload).map(([header, claims]) => `${segment(json(header))}.${segment(claims)}.AAAA`),
  )
}

function json(value: unknown): string {
  try {
    return JSON.stringify(value) ?? ''
  } catch {
    return ''
  }
}

t.test('every input gets a result, and is rejected unless a known key signed it', async () => {
  const stranger = testKey('HS256', 'hs')
  fc.assert(
    fc.property(strange(stranger), token => {
      const [open, channel] = [TOKENS.verify(token, NOW), TOKENS.verifyChannel(token, 'ann', NOW)]
      return !open.ok && REFUSALS.includes(open.reason) && !channel.ok && REFUSALS.includes(channel.reason)
    }),
    { numRuns: 3000 },
  )
})

t.test('signed claims of any form are accepted or rejected, and never throw', async () => {
  fc.assert(
    fc.property(strange(HS), token => {
      const result = TOKENS.verify(token, NOW)
      return result.ok ? typeof result.identity.user === 'string' : REFUSALS.includes(result.reason)
    }),
    { numRuns: 2000 },
  )
})
