// Publish keys.

import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { ANONYMOUS, keyOwners, requirePublisher } from '../../../services/http/auth.ts'
import { startApp } from './app.ts'

t.test('any of several keys will do, and nothing else', async t => {
  const owners = keyOwners(['first', 'second-key', '=+/~'])
  const known = (authorization?: string) => owners(authorization) !== undefined
  for (const good of ['Bearer first', 'Bearer second-key', 'bearer first', 'BEARER  =+/~', 'Bearer first ']) {
    t.equal(known(good), true, good)
  }
  for (const bad of [
    undefined,
    '',
    'Bearer',
    'Bearer ',
    'first',
    'Basic first',
    'Bearer First',
    'Bearer firs',
    'Bearer first second-key',
    'Bearer first,second-key',
    'xBearer first',
  ]) {
    t.equal(known(bad), false, String(bad))
  }
})

t.test('without keys anybody may publish', async t => {
  t.equal(keyOwners([])(undefined), ANONYMOUS)
  t.equal(keyOwners([])('Bearer whatever'), ANONYMOUS)
})

const routes = (app: FastifyInstance) => {
  app.post('/v1/write', { onRequest: requirePublisher }, async () => 'written')
  app.get('/v1/may', async request => ({ may: typeof app.publisher(request.headers) === 'object' }))
}

t.test('without a key publishing is 401, before the body is looked at', async t => {
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
    t.equal(answer.headers['www-authenticate'], 'Bearer realm="fanwire"')
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
    for (const url of ['/v1/write', '/v1/write?key=s3cret', '/v1/nothing?key=s3cret', '/v1/%zz?key=s3cret']) {
      await app.inject({ method: 'POST', url, headers: { authorization } })
    }
  }
  t.match(lines.join(), /"path":"\/v1\/write","status":200/)
  t.match(lines.join(), /"path":"\/v1\/nothing","status":404/)
  t.notMatch(lines.join(), /s3cret|wr0ng|key=/)
})
