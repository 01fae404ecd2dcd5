// Token keys from a URL, fetched from a real server on loopback.

import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { createJwksUrl } from '../../../../services/broker/access/jwks-url.ts'
import { jwksUrlFault } from '../../../../services/broker/access/jwks-url-fault.ts'
import { createTokens } from '../../../../services/broker/access/tokens.ts'
import { jwks, signToken, testKey, userClaims } from '../../../support/tokens.ts'

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
    time.now = 29_999
    t.match(await tokens.authenticate(token(NEW)), { reason: 'unknown_key' })
    t.equal(server.asked, 1)
    time.now = 30_000
    const results = await Promise.all(Array.from({ length: 50 }, () => tokens.authenticate(token(NEW))))
    t.ok(results.every(({ ok }) => ok))
    t.equal(server.asked, 2)
    const strangers = Array.from({ length: 50 }, (_, i) =>
      tokens.authenticate(token({ ...NEW, kid: `x${i}` })),
    )
    t.ok((await Promise.all(strangers)).every(result => !result.ok && result.reason === 'unknown_key'))
    t.equal(server.asked, 2)
  },
)

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

t.test('no request is sent after close', async t => {
  const server = await provider(t, text(jwks(OLD)))
  const { made, failures } = source(t, server.url)
  const asking = made.refresh()
  made.close()
  t.equal(await asking, false)
  t.equal(await made.refresh(), false)
  t.strictSame(failures, [])
})
