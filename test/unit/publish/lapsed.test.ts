// Credentials that end while a client uploads.

import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { makeApiKey } from '../../../services/broker/access/api-keys.ts'
import { folder } from '../../support/folder.ts'
import { stopClock } from '../../support/stopped-clock.ts'
import { jwks, signToken, testKey, userClaims } from '../../support/tokens.ts'
import { lines, Post, startNode } from './node.ts'

const URL = '/v1/events'
const line = (channel: string, data: number) => `{"channel":"${channel}","data":${data}}\n`

/** A node on which a token and an API key may publish, and ways to end them. */
async function start(t: Test) {
  const clock = stopClock(t)
  const path = folder(t)
  const files = {
    rulesFile: join(path, 'rules.json'),
    keysFile: join(path, 'keys.json'),
    jwtKeysFile: join(path, 'jwks.json'),
  }
  const signer = testKey('HS256')
  const { key, entry } = makeApiKey('orders', ['publish'], ['*'])
  writeFileSync(files.rulesFile, '{"default":{"subscribe":"anyone","publish":["token","key"]}}')
  writeFileSync(files.keysFile, JSON.stringify([entry]))
  writeFileSync(files.jwtKeysFile, jwks(signer))
  const node = await startNode(t, files)
  const { access } = node.context
  const caps = [{ channels: ['*'], allow: ['pub'] }]
  return {
    node,
    key,
    token: (user = 'ada') => signToken(signer, userClaims(user, { caps }, Date.now())),
    revoke: (user = 'ada') => access.revoke(user, Date.now() + 1000),
    /** Moves the clock past the expiry of tokens, and the leeway. */
    expire: () => clock.forward(3_611_000),
    async removeKey() {
      const reloaded = once(access, 'rules')
      writeFileSync(files.keysFile, '[]')
      await reloaded
    },
  }
}

for (const end of ['revoke', 'expire', 'removeKey'] as const) {
  t.test(`a streamed upload ends with its credentials: ${end}`, async t => {
    const { node, key, token, ...ends } = await start(t)
    const port = await node.listen()
    const authorization = `Bearer ${end === 'removeKey' ? key : token()}`
    const headers = { 'content-type': 'application/x-ndjson', authorization }
    const unused = new Post(port, URL, headers)
    const accepted = once(node.app.server, 'request')
    unused.request.flushHeaders()
    await accepted
    const post = new Post(port, URL, headers)
    await post.write(line('a', 1))
    await post.answer
    await ends[end]()
    post.request.end(line('a', 2) + line('a', 3))
    t.match(lines(await post.text()), [{ channel: 'a' }, { index: 1, error: { code: 'FW_UNAUTHORIZED' } }])
    unused.request.end(line('a', 4))
    const refused = await unused.answer
    t.equal(refused.statusCode, 401)
    t.match(refused.headers['www-authenticate'], 'error="invalid_token"')
    t.same(await node.data('a'), ['1'])
  })
}

t.test('a body that is still arriving when its token is revoked publishes nothing', async t => {
  const { node, token, revoke } = await start(t)
  const port = await node.listen()
  for (const [user, path, body] of [
    ['ada', '/v1/channels/a/events', '[1]'],
    ['bob', URL, `{"events":[${line('a', 1)}]}`],
  ] as const) {
    const post = new Post(port, path, {
      'content-type': 'application/json',
      'content-length': body.length,
      authorization: `Bearer ${token(user)}`,
    })
    const accepted = once(node.app.server, 'request')
    await post.write(body.slice(0, 2))
    await accepted
    revoke(user)
    post.request.end(body.slice(2))
    t.equal((await post.answer).statusCode, 401, path)
  }
  t.same(await node.data('a'), [])
})

t.test('entries of a JSON body that are left when the token is revoked are refused', async t => {
  const { node, token, revoke } = await start(t)
  node.log.through = (_channel, _drafts, next) => {
    revoke()
    return next()
  }
  const count = 1000
  const answer = await node.app.inject({
    method: 'POST',
    url: URL,
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token()}` },
    payload: `{"events":[${Array.from({ length: count }, (_, at) => line('a', at)).join(',')}]}`,
  })
  const { results } = answer.json()
  t.equal(results.length, count)
  t.match(results[0], { channel: 'a', id: String })
  t.match(results[count - 1], { index: count - 1, error: { code: 'FW_UNAUTHORIZED' } })
})
