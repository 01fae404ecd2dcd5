// Authentication: keys in requests. The access matrix is in test/integration/access.test.ts.

import type { FastifyInstance } from 'fastify'
import { once } from 'node:events'
import { join } from 'node:path'
import t from 'tap'
import { WebSocket } from 'ws'
import { bearerOf } from '../../../services/http/auth.ts'
import { startMemoryNode } from '../../contract/node.ts'
import { rawClient } from '../../support/centrifuge.ts'
import { jwks, signToken, testKey, userClaims } from '../../support/tokens.ts'
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

t.test(
  'until the keys of tokens have been read once, a token is answered with a temporary error',
  async t => {
    const node = await startMemoryNode({
      JWKS_URL: 'http://127.0.0.1:1/jwks.json',
      JWT_AUDIENCE: 'tests',
      CENTRIFUGE: '1',
    })
    t.teardown(() => node.close())
    const token = signToken(testKey('ES256'), userClaims('ann', { aud: 'tests' }))
    const headers = { authorization: `Bearer ${token}` }
    const error = { code: 'FW_NOT_READY', retry: 2000 }

    const poll = await node.get('/v1/poll?channel=a', headers)
    t.match(poll, { status: 503, headers: { 'retry-after': '2', 'www-authenticate': undefined } })
    t.match(JSON.parse(poll.body), { error })
    const sse = await fetch(`http://127.0.0.1:${node.port}/v1/sse?channel=a`, { headers })
    t.equal(sse.status, 200, 'an EventSource reconnects')
    const first = await sse.body?.getReader().read()
    t.match(Buffer.from(first?.value ?? []).toString(), /^retry: 2000\n: FW_NOT_READY: /)

    const refused = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws`, { headers })
    const [, answer] = await once(refused, 'unexpected-response')
    t.equal(answer.statusCode, 503)
    answer.destroy()
    const stranger = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws`)
    await once(stranger, 'message')
    stranger.send(JSON.stringify({ ref: 1, auth: { token } }))
    const [reply] = await once(stranger, 'message')
    t.match(JSON.parse(String(reply)), { ref: 1, error })
    stranger.terminate()

    const client = await rawClient(node, { token })
    t.match(JSON.parse(client.lines[0] ?? ''), { id: 1, error: { code: 100, temporary: true } })
    client.socket.terminate()
    t.ok((node.app.fanwire.access.outcomes.get('keys_away') ?? 0) >= 5, 'counted in metrics')
  },
)

t.test('a request may have as many channel tokens as channels', async t => {
  const key = testKey('HS256')
  const folder = t.testdir({ 'jwks.json': jwks(key) })
  const node = await startMemoryNode({ JWT_KEYS_FILE: join(folder, 'jwks.json'), MAX_CHANNELS: '40' })
  t.teardown(() => node.close())
  const tokens = Array.from({ length: 41 }, (_, i) => {
    const token = signToken(key, { exp: userClaims('').exp, channel: `room:${i}`, allow: ['sub'] })
    return `channel=room:${i}&channel_token=${token}`
  })
  t.equal((await node.get(`/v1/poll?${tokens.slice(1).join('&')}`)).status, 200)
  const extra = tokens[0]?.replace(/^channel=room:0&/, '')
  const { status, body } = await node.get(`/v1/poll?${tokens.slice(1).join('&')}&${extra}`)
  t.equal(status, 400)
  t.match(JSON.parse(body), { error: { code: 'FW_BAD_PARAMETER', message: /at most 40 channel_token/ } })
})

t.test('an open node on loopback accepts any credentials, on all ways', async t => {
  const node = await startMemoryNode({ MERCURE: '1' })
  t.teardown(() => node.close())
  const path = '/v1/poll?channel=a'
  t.equal((await node.get(path, { authorization: 'Bearer x.y.z' })).status, 200)
  t.equal((await node.get(`${path}&channel_token=x.y.z`)).status, 200)
  const updates = '/.well-known/mercure?topic=a'
  const url = `http://127.0.0.1:${node.port}${updates}`
  const left = new AbortController()
  const answer = await fetch(url, { headers: { cookie: 'mercureAuthorization=x.y.z' }, signal: left.signal })
  t.equal(answer.status, 200)
  left.abort()
  const client = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws`)
  t.teardown(() => client.terminate())
  await once(client, 'message')
  for (const command of [{ auth: { token: 'x.y.z' } }, { subscribe: 'a', token: 'x.y.z' }]) {
    client.send(JSON.stringify({ ref: 1, ...command }))
    const [reply] = await once(client, 'message')
    t.match(JSON.parse(String(reply)), { ref: 1, ok: {} })
  }
})
