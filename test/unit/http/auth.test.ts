// Authentication: keys in requests. The access matrix is in test/integration/access.test.ts.

import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { bearerOf } from '../../../services/http/auth.ts'
import { startApp } from './app.ts'

t.test('a bearer token is the text after the scheme, and nothing else', async t => {
  for (const good of ['Bearer first', 'bearer first', 'BEARER  first', 'Bearer first ']) {
    t.equal(bearerOf({ authorization: good }), 'first', good)
  }
  for (const other of ['', 'first', 'Basic first', 'xBearer first', 'Bearerfirst']) {
    t.equal(bearerOf({ authorization: other }), undefined, other)
  }
  // An empty token is invalid, which differs from no token.
  for (const none of ['Bearer', 'Bearer ']) t.equal(bearerOf({ authorization: none }), '')
  t.equal(bearerOf({ authorization: 'Bearer first second' }), 'first second')
  t.equal(bearerOf({}), undefined)
})

const routes = (app: FastifyInstance) => {
  const { access } = app.fanwire
  app.post(
    '/v1/write',
    { onRequest: async ({ identity }) => access.require(identity, 'publish', 'a') },
    async () => 'written',
  )
  app.get('/v1/may', async ({ identity }) => ({ may: access.may(identity, 'publish', 'a').allowed }))
}

t.test('publishing without a key is 401, before the body is read', async t => {
  const { app } = await startApp(t, { routes, config: { publishKeys: ['s3cret'] } })
  for (const authorization of [undefined, 'Bearer wrong']) {
    const answer = await app.inject({
      method: 'POST',
      url: '/v1/write',
      headers: { 'content-type': 'what/ever', ...(authorization ? { authorization } : {}) },
      payload: 'x'.repeat(3_000_000),
    })
    t.equal(answer.statusCode, 401)
    t.match(answer.json(), { error: { code: 'FW_UNAUTHORIZED' } })
    const why = authorization === undefined ? '' : ', error="invalid_token"'
    t.equal(answer.headers['www-authenticate'], `Bearer realm="fanwire"${why}`)
    t.notMatch(answer.body, /s3cret|wrong/)
  }
  const headers = { authorization: 'Bearer s3cret' }
  t.equal((await app.inject({ method: 'POST', url: '/v1/write', headers })).statusCode, 200)
  t.strictSame((await app.inject({ url: '/v1/may', headers })).json(), { may: true })
  t.strictSame((await app.inject('/v1/may')).json(), { may: false })
})

t.test('neither keys nor queries are logged, at any level', async t => {
  const { app, lines } = await startApp(t, { routes, level: 'trace', config: { publishKeys: ['s3cret'] } })
  for (const authorization of ['Bearer s3cret', 'Bearer wr0ng']) {
    for (const url of [
      '/v1/write',
      '/v1/write?key=s3cret',
      '/v1/nothing?key=s3cret',
      '/v1/%zz?key=s3cret',
      '/v1/nothing&key=s3cret',
      '/v1/nothing%3Fkey%3Ds3cret',
      '/v1/nothing;s3cret',
    ]) {
      await app.inject({ method: 'POST', url, headers: { authorization } })
    }
  }
  t.match(lines.join(), /"path":"\/v1\/write","status":200/)
  t.match(lines.join(), /"path":"\/v1\/nothing","status":404/)
  t.notMatch(lines.join(), /s3cret|wr0ng|key=/)
})
