// Key sets of tokens: each key is bound to one algorithm. A fault in a file is an error; faulty keys of a provider are
// ignored.

import { generateKeyPairSync } from 'node:crypto'
import t from 'tap'
import { parseJwks } from '../../../../services/broker/access/jwks.ts'
import { BadFileError } from '../../../../services/broker/files/bad-file.ts'
import { jwks, secretKey, testKey } from '../../../support/tokens.ts'

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

t.test('without a kid, a set of several keys matches none', async t => {
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
