// Keys of tokens: each key of a set is bound to one algorithm; a fault in a file is an error, while faulty keys of a
// provider are ignored. Sets from a URL are fetched from a real server on loopback.

import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { parseJwks } from '../../../../services/broker/access/jwks.ts'
import { BadFileError } from '../../../../services/broker/files/bad-file.ts'
import { jwks, secretKey, signToken, testKey, userClaims } from '../../../support/tokens.ts'
import { createJwksUrl } from '../../../../services/broker/access/jwks-url.ts'
import { jwksUrlFault } from '../../../../services/broker/access/jwks-url-fault.ts'
import { createTokens } from '../../../../services/broker/access/tokens.ts'

// Sets --------------------------------------------------------------------------------------------------------

const ALGORITHMS = [
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
]

t.test('every key is found by kid and bound to its algorithm', async t => {
  const keys = parseJwks(jwks(...ALGORITHMS.map(alg => testKey(alg))))
  for (const alg of ALGORITHMS) {
    t.match(keys.find(alg.toLowerCase(), 'whatever'), { algorithm: alg, kid: alg.toLowerCase() })
    t.equal(
      keys.find(undefined, alg)?.algorithm,
      alg,
      'without a kid, the only key of the algorithm is found',
    )
  }
  t.equal(keys.find('../../etc/passwd', 'HS256'), undefined)
  t.equal(keys.find('https://evil.example/jwks', 'RS256'), undefined)
  t.equal(keys.find('__proto__', 'HS256'), undefined)
  t.equal(keys.find(undefined, 'none'), undefined)
})

t.test('without a kid, none of several keys of one algorithm is found', async t => {
  const keys = parseJwks(jwks(testKey('HS256', 'a'), testKey('HS256', 'b')))
  t.equal(keys.find(undefined, 'HS256'), undefined)
  t.ok(keys.find('b', 'HS256'))
})

t.test('faults in a file are reported with key and member', async t => {
  const good = testKey('ES256').jwk
  const set = (...keys: readonly unknown[]) => JSON.stringify({ keys })
  const small = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ format: 'jwk' })
  const ed448 = generateKeyPairSync('ed448').publicKey.export({ format: 'jwk' })
  const privateKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' })
  const short = secretKey('HS256', 'x', {}, 'too short').jwk
  const table: readonly [string, RegExp][] = [
    ['{', /not valid JSON/],
    ['[]', /a list `keys`/],
    ['{"keys":{}}', /a list `keys`/],
    [set(3), /^keys\[0\]: is not an object/],
    [set(good, { ...good, kid: 7 }), /^keys\[1\]\.kid: is not a string/],
    [set(good, good), /^keys\[1\]\.kid: an earlier key has the same/],
    [set(good, { ...good, kid: undefined }), /each of several ES256 keys needs a kid/],
    [set({ ...good, use: 'enc' }), /^keys\[0\]\.use/],
    [set({ ...good, key_ops: ['sign'] }), /^keys\[0\]\.key_ops/],
    [set({ ...good, iss: 3 }), /^keys\[0\]\.iss: is not a string/],
    [set({ ...good, aud: [3] }), /^keys\[0\]\.aud: /],
    [set({ ...good, aud: [] }), /^keys\[0\]\.aud: /],
    [set({ ...good, kty: 'X' }), /^keys\[0\]\.kty: /],
    [set({ ...good, alg: 'RS256' }), /^keys\[0\]\.alg: "RS256"; a key of "EC P-256" needs ES256/],
    [set({ ...good, alg: undefined }), /^keys\[0\]\.alg: is missing/],
    [set({ ...good, alg: 'none' }), /^keys\[0\]\.alg: "none"/],
    [set({ ...good, x: 'AA' }), /^keys\[0\]: the key itself is malformed/],
    [set({ ...small, alg: 'RS256' }), /at least 2048 bits/],
    [set({ ...ed448, alg: 'EdDSA' }), /^keys\[0\]\.crv: "OKP Ed448" keys are not supported/],
    [set({ ...privateKey, alg: 'ES256' }), /^keys\[0\]: is a private key/],
    [set(short), /^keys\[0\]\.k: has 9 bytes; HS256 needs at least 32/],
    [set({ ...short, alg: 'RS256' }), /^keys\[0\]\.alg: an oct key needs HS256, HS384 or HS512/],
    [set({ ...short, alg: undefined }), /^keys\[0\]\.alg: an oct key needs/],
    [set({ ...short, k: 'not base64!' }), /^keys\[0\]\.k: is not base64url/],
  ]
  for (const [text, why] of table) t.throws(() => parseJwks(text), { name: BadFileError.name, message: why })
  t.equal(parseJwks(`\ufeff${set(good)}`).size, 1, 'a byte order mark is ignored')
})

t.test('in a published set unusable keys are ignored, and secrets are never accepted', async t => {
  const [rs, es, secret] = [testKey('RS256', 'r'), testKey('ES256', 'e'), testKey('HS256', 's')]
  const text = JSON.stringify({
    keys: [
      3,
      secret.jwk,
      { kty: 'X' },
      { ...es.jwk, use: 'enc' },
      { ...rs.jwk, alg: undefined },
      { ...es.jwk, alg: undefined },
    ],
  })
  const keys = parseJwks(text, { published: true, audiences: ['me'], issuer: 'https://i.example' })
  t.equal(keys.size, 2)
  t.match(keys.find('r', ''), { algorithm: 'RS256', audiences: ['me'], issuer: 'https://i.example' })
  t.match(keys.find('e', ''), { algorithm: 'ES256' })
  t.equal(keys.find('s', 'HS256'), undefined)
})

// From a URL --------------------------------------------------------------------------------------------------

/** A provider whose response can be changed. */
async function provider(t: Test, first: RequestListener) {
  const state = { answer: first, asked: 0 }
  const server = createServer((request, response) => {
    state.asked++
    state.answer(request, response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return Object.assign(state, { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks` })
}

const text =
  (body: string, status = 200): RequestListener =>
  (_request, response) =>
    void response.writeHead(status).end(body)

const AUDIENCES = ['fanwire']
const [OLD, NEW] = [testKey('ES256', 'old'), testKey('ES256', 'new')]
const token = (key = OLD) => signToken(key, userClaims('ann', { aud: 'fanwire' }))

function source(t: Test, url: string, timeout?: number) {
  const time = { now: 0 }
  const failures: string[] = []
  const made = createJwksUrl({
    url,
    audiences: AUDIENCES,
    clock: () => time.now,
    onFailure: reason => failures.push(reason),
    ...(timeout === undefined ? {} : { timeout }),
  })
  t.teardown(() => made.close())
  return { made, time, failures, tokens: createTokens({ source: made }) }
}

t.test('the URL is https, or http on loopback', async t => {
  for (const url of [
    'https://issuer.example/jwks',
    'http://127.0.0.1:80/x',
    'http://localhost/x',
    'http://[::1]:8/x',
  ]) {
    t.equal(jwksUrlFault(url), undefined, url)
  }
  for (const url of [
    '',
    'issuer.example/jwks',
    'http://issuer.example/jwks',
    'http://127.0.0.1.evil.example/jwks',
    'http://localhost.evil.example/',
    'file:///etc/passwd',
    'data:application/json,{}',
    'https://user:secret@issuer.example/',
    'https://issuer.example/#x',
  ]) {
    t.match(jwksUrlFault(url), /./, url)
    t.throws(() => createJwksUrl({ url, audiences: AUDIENCES }), { message: /^(?!.*secret)/ })
  }
})

t.test('the key set is fetched once, and tokens of its keys are valid for the audience', async t => {
  const server = await provider(t, text(jwks(OLD)))
  const { made, tokens, failures } = source(t, server.url)
  t.match(tokens.verify(token()), { reason: 'keys_away' })
  t.equal(await made.refresh(), true)
  t.ok(tokens.verify(token()).ok)
  t.match(tokens.verify(signToken(OLD, userClaims('ann'))), { reason: 'audience' })
  t.equal(server.asked, 1)
  t.strictSame(failures, [])
})

t.test(
  'the key set is fetched again for an unknown key, at most every 30 s, once for all waiters',
  async t => {
    const server = await provider(t, text(jwks(OLD)))
    const { made, tokens, time } = source(t, server.url)
    await made.refresh()
    server.answer = text(jwks(OLD, NEW))
    const results = await Promise.all(Array.from({ length: 50 }, () => tokens.authenticate(token(NEW))))
    t.ok(
      results.every(({ ok }) => ok),
      'the first request is not one for an unknown key',
    )
    t.equal(server.asked, 2)
    const strangers = async () => {
      const all = Array.from({ length: 50 }, (_, i) => tokens.authenticate(token({ ...NEW, kid: `x${i}` })))
      return (await Promise.all(all)).every(result => !result.ok && result.reason === 'unknown_key')
    }
    time.now = 29_999
    t.ok(await strangers())
    t.equal(server.asked, 2)
    time.now = 30_000
    t.ok(await strangers())
    t.equal(server.asked, 3)
  },
)

t.test('the refresh after 10 min does not delay the request for an unknown key', async t => {
  const server = await provider(t, text(jwks(OLD)))
  const { made, tokens, time } = source(t, server.url)
  await made.refresh()
  time.now = 600_000
  t.ok(tokens.verify(token()).ok)
  t.equal(await made.refresh(), false, 'the refresh is in progress, and changes nothing')
  server.answer = text(jwks(OLD, NEW))
  t.ok((await tokens.authenticate(token(NEW))).ok)
  t.equal(server.asked, 3)
})

t.test('the key set is kept while the source is unavailable or returns an invalid one', async t => {
  const server = await provider(t, text(jwks(OLD)))
  const { made, tokens, time, failures } = source(t, server.url)
  await made.refresh()
  const bad: readonly [RequestListener, RegExp][] = [
    [(_request, response) => void response.destroy(), /./],
    [text('', 500), /the response status is 500/],
    [text('{}'), /list `keys`/],
    [text('<html>'), /not valid JSON/],
    [text('{"keys":[]}'), /no key that can be used/],
    [text(`{"keys":[${JSON.stringify(testKey('HS256').jwk)}]}`), /no key that can be used/],
    [text(jwks(OLD) + ' '.repeat(2 ** 20)), /larger than 1 MiB/],
    [(_request, response) => void response.writeHead(302, { location: '/other' }).end(), /redirect/],
  ]
  for (const [answer, why] of bad) {
    server.answer = answer
    time.now += 30_000
    t.equal(await made.refresh(), false)
    t.match(failures.at(-1), why)
    t.ok(tokens.verify(token()).ok)
  }
  t.equal(failures.length, bad.length)
  t.equal(server.asked, bad.length + 1, 'no redirect was followed')
})

t.test('a missing response times out', async t => {
  const server = await provider(t, () => {})
  const { made, failures } = source(t, server.url, 50)
  t.equal(await made.refresh(), false)
  t.strictSame(failures, ['no answer in time'])
  server.answer = (_request, response) => void response.writeHead(200).write('{"keys":')
  const halfway = source(t, server.url, 50)
  t.equal(await halfway.made.refresh(), false)
  t.strictSame(halfway.failures, ['no answer in time'])
})

t.test('a source that was unavailable at the start is retried every 2 s', async t => {
  const server = await provider(t, text('', 503))
  const { made, tokens, time } = source(t, server.url)
  await made.refresh()
  server.answer = text(jwks(OLD))
  time.now = 1999
  t.match(await tokens.authenticate(token()), { reason: 'keys_away' })
  time.now = 2000
  t.ok((await tokens.authenticate(token())).ok)
})

t.test('a key that the provider removed is gone after 10 min', async t => {
  const server = await provider(t, text(jwks(OLD, NEW)))
  const { made, tokens, time } = source(t, server.url)
  await made.refresh()
  server.answer = text(jwks(NEW))
  time.now = 600_000
  t.ok(tokens.verify(token(OLD)).ok, 'no request waits for the new keys')
  t.equal(await made.refresh(), true, 'the new keys are being fetched')
  t.match(tokens.verify(token(OLD)), { reason: 'unknown_key' })
  t.ok(tokens.verify(token(NEW)).ok)
})

t.test('after close, refreshes fail without a report, even one under way', async t => {
  const server = await provider(t, text(jwks(OLD)))
  const { made, failures } = source(t, server.url)
  const asking = made.refresh()
  made.close()
  t.equal(await asking, false)
  t.equal(await made.refresh(), false)
  t.strictSame(failures, [])
})
