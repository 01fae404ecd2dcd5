// Credentials and channel names that are malformed in every known way: every entry point rejects each with its code.
// Invalid rules files: test/unit/broker/rules/parse.test.ts.

import { once } from 'node:events'
import { io } from 'socket.io-client'
import t from 'tap'
import { WebSocket } from 'ws'
import { startMemoryNode } from '../contract/node.ts'
import { caps, ClosedWorld } from '../support/closed-node.ts'
import { segment, signToken, userClaims } from '../support/tokens.ts'

const world = new ClosedWorld()
const token = (more: Record<string, unknown>, header: Record<string, unknown> = {}) =>
  signToken(world.hs, userClaims('ann', { caps: caps('room:*', 'sub', 'hst'), ...more }), header)
const [head, , signature] = token({}).split('.')

/** Signs claims given as text, which JSON.stringify could not write. */
const written = (claims: string) => signToken(world.hs, claims)

const TOKENS: Readonly<Record<string, string>> = {
  'exp as a string': token({ exp: '9999999999' }),
  'exp beyond 2^53': written('{"sub":"ann","exp":9007199254740993}'),
  'exp beyond all numbers': written('{"sub":"ann","exp":1e999}'),
  'a negative exp': token({ exp: -1 }),
  'exp null': token({ exp: null }),
  'exp a list': token({ exp: [9999999999] }),
  'iat as a string': token({ iat: 'now' }),
  'nbf as an object': token({ nbf: {} }),
  'expire_at true': token({ expire_at: true }),
  'nbf in the future': token({ nbf: Math.floor(Date.now() / 1000) + 60 }),
  'sub a number': token({ sub: 7 }),
  'sub an object': token({ sub: { toString: 'ann' } }),
  'sub with a line break': token({ sub: 'ann\r\nadmin' }),
  'sub not in NFC': token({ sub: 'e\u0301' }),
  'sub with half a character': token({ sub: '\ud800' }),
  'a sub of 201 characters': token({ sub: 'a'.repeat(201) }),
  'aud a number': token({ aud: 1 }),
  'iss a list': token({ iss: ['x'] }),
  'jti an object': token({ jti: {} }),
  'caps an object': token({ caps: {} }),
  'caps with a regular expression': token({ caps: caps('room:[0-9]+', 'sub') }),
  'caps with **': token({ caps: caps('room:**', 'sub') }),
  'caps with an empty segment': token({ caps: caps('room::1', 'sub') }),
  'caps with a star within': token({ caps: caps('room:a*', 'sub') }),
  "caps for the node's own channels": token({ caps: caps('fanwire:*', 'sub') }),
  'caps with {user}': token({ caps: caps('inbox:{user}', 'sub') }),
  'caps with admin': token({ caps: caps('room:*', 'admin') }),
  'caps with another member': token({ caps: [{ channels: ['room:*'], allow: ['sub'], deny: [] }] }),
  'channels as claims': token({ channels: ['room:1'] }),
  'subs as claims': token({ subs: {} }),
  'claims that are a list': written('[]'),
  'claims that are null': written('null'),
  'claims that are not JSON': written('{"sub":'),
  'a kid that is a URL': token({}, { kid: 'https://evil.example/key' }),
  'a kid that is a number': token({}, { kid: 1 }),
  'a kid of the prototype': token({}, { kid: '__proto__' }),
  'alg of the prototype': token({}, { alg: 'constructor', kid: undefined }),
  jku: token({}, { jku: 'https://evil.example/jwks' }),
  x5u: token({}, { x5u: 'https://evil.example/cert' }),
  x5c: token({}, { x5c: ['MIIB'] }),
  crit: token({}, { crit: ['exp'], exp: 1 }),
  zip: token({}, { zip: 'DEF' }),
  'another typ': token({}, { typ: 'JWE' }),
  'alg in lower case': token({}, { alg: 'hs256' }),
  'alg NONE': `${segment({ alg: 'NONE' })}.${segment(userClaims('ann'))}.`,
  'a header that is a list': `${segment([])}.${segment({})}.${signature}`,
  'an empty signature': `${head}.${segment(userClaims('ann'))}.`,
  'two parts': `${head}.${segment({})}`,
  'four parts': `${token({})}.x`,
  'five parts, as encrypted': `${token({})}.x.y`,
  'a part with padding': `${token({})}==`,
  'more than 8 KiB': token({ info: 'x'.repeat(8000) }),
}

t.test(
  'each invalid token is rejected with a code and a reason over HTTP, WebSocket and Socket.IO alike',
  async t => {
    const node = await startMemoryNode({ ...world.settings, TOKEN_QUERY: '1' })
    t.teardown(() => node.close())
    const ws = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws`)
    t.teardown(() => ws.terminate())
    await once(ws, 'message')
    for (const [name, bad] of Object.entries(TOKENS)) {
      const { status, headers, body } = await node.get('/v1/poll?channel=room:1', {
        authorization: `Bearer ${bad}`,
      })
      t.equal(status, 401, name)
      t.equal(headers['www-authenticate'], 'Bearer realm="fanwire", error="invalid_token"', name)
      const { error } = JSON.parse(body)
      t.equal(error.code, 'FW_UNAUTHORIZED', name)
      t.ok(error.message.length < 250 && !error.message.includes(bad), name)

      const query = `token=${encodeURIComponent(bad)}`
      t.same(JSON.parse((await node.get(`/v1/poll?channel=room:1&${query}`)).body), { error }, name)
      const channelToken = await node.get(`/v1/poll?channel=room:1&channel_${query}`)
      t.equal(channelToken.status, 401, name)

      ws.send(JSON.stringify({ ref: name, auth: { token: bad } }))
      t.same(JSON.parse(String((await once(ws, 'message'))[0])), { ref: name, error }, name)
      const client = io(`http://127.0.0.1:${node.port}`, {
        transports: ['websocket'],
        auth: { token: bad },
        forceNew: true,
        reconnection: false,
      })
      const refused = await new Promise<Error & { data?: unknown }>((resolve, reject) => {
        client.once('connect_error', resolve)
        client.once('connect', () => reject(new Error(`${name} got in`)))
      })
      t.same(
        { code: error.code, message: error.message },
        { ...(refused.data as object), message: refused.message },
      )
      client.disconnect()
    }
    t.equal(node.app.fanwire.access.outcomes.get('accepted') ?? 0, 0)
  },
)

t.test('a token of 100 KB is rejected in the header, in the query and over WebSocket', async t => {
  const node = await startMemoryNode({ ...world.settings, TOKEN_QUERY: '1' })
  t.teardown(() => node.close())
  const huge = token({ info: 'x'.repeat(75_000) })
  t.ok(huge.length > 100_000)
  const header = await node.get('/v1/poll?channel=room:1', { authorization: `Bearer ${huge}` })
  t.equal(header.status, 431)
  t.match(header.body, /FW_HEADERS_TOO_LARGE/)
  const query = await node.get(`/v1/poll?channel=room:1&token=${huge}`)
  t.ok(query.status === 414 || query.status === 431, String(query.status))
  t.match(query.body, /FW_URL_TOO_LONG|FW_HEADERS_TOO_LARGE/)
  const ws = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws`)
  await once(ws, 'message')
  ws.send(JSON.stringify({ auth: { token: huge } }))
  const [message] = await Promise.race([
    once(ws, 'message'),
    once(ws, 'close').then(([code]) => [`closed ${code}`]),
  ])
  t.match(String(message), /FW_UNAUTHORIZED|closed 1009/)
  ws.terminate()
})

const NAMES: Readonly<Record<string, string>> = {
  'encoded twice': 'room%253A1',
  'with an encoded percent': 'room%25',
  'with a null': 'room%001',
  'a path': '..%2F..%2Fetc',
  'a name that contains a path': 'room:a%2F..%2F1',
  'mixed forms: NFC': 'r%C3%A9',
  'mixed forms: NFD': 're%CC%81',
  'letters that look alike': 'r%D0%BE%D0%BEm:1',
  'full width': '%EF%BD%92oom:1',
  'a zero-width space': 'room:1%E2%80%8B',
  'not UTF-8': 'room:%FF',
  "a channel of the node's own": 'fanwire:control',
  "a channel of the node's own, encoded": 'fanwire%3Acontrol',
  'a pattern': 'room:*',
  'a pattern of rules': 'inbox:%7Buser%7D',
}

t.test('a channel name has one spelling, however a URL encodes it, and others are invalid', async t => {
  const node = await startMemoryNode(world.settings)
  t.teardown(() => node.close())
  const headers = { authorization: `Bearer ${world.keys.all.key}` }
  for (const [name, channel] of Object.entries(NAMES)) {
    for (const path of [`/v1/poll?channel=${channel}`, `/v1/channels/${channel}`]) {
      const { status, body } = await node.get(path, headers)
      t.equal(status, 400, `${name}: ${path}`)
      t.match(body, /FW_BAD_CHANNEL|FW_BAD_REQUEST|FW_BAD_ENCODING/, `${name}: ${path}`)
    }
  }
  // The rules apply to a name however it is encoded in a URL.
  const denied = { authorization: `Bearer ${world.token({ caps: caps('other:*', 'sub', 'hst') })}` }
  for (const channel of ['room:1', 'room%3A1', '%72oom:1', '%72%6f%6f%6d%3a%31']) {
    for (const path of [`/v1/poll?channel=${channel}`, `/v1/channels/${channel}`]) {
      t.equal((await node.get(path, denied)).status, 403, path)
      t.equal((await node.get(path, headers)).status, 200, path)
    }
  }
  // A slash does not end a segment: `room:*` matches `room:1/2`, but not `room/1`.
  const granted = { authorization: `Bearer ${world.token({ caps: caps('room:*', 'sub', 'hst') })}` }
  for (const [channel, status] of [
    ['room%2F1', 403],
    ['%72oom%2f1', 403],
    ['room%2F:1', 403],
    ['room:1%2F2', 200],
  ] as const) {
    for (const path of [`/v1/poll?channel=${channel}`, `/v1/channels/${channel}`]) {
      t.equal((await node.get(path, granted)).status, status, path)
      t.equal((await node.get(path, headers)).status, 200, path)
    }
  }
})

t.test('contradictory or duplicate credentials are rejected', async t => {
  const node = await startMemoryNode({ ...world.settings, TOKEN_QUERY: '1' })
  t.teardown(() => node.close())
  const good = world.token()
  const path = '/v1/poll?channel=room:1'
  const table: readonly [string, Record<string, string>, number][] = [
    // An invalid credential is rejected even beside a valid one.
    [`${path}&token=${good}`, { authorization: 'Bearer x.y.z' }, 401],
    [`${path}&ticket=x`, { cookie: `${world.settings.TOKEN_COOKIE}=${good}` }, 401],
    [`${path}&token=${good}&token=${good}`, {}, 400],
    [`${path}&ticket=x&ticket=y`, {}, 400],
    [`${path}${'&channel_token=x'.repeat(101)}`, { authorization: `Bearer ${good}` }, 400],
    [path, { authorization: `Bearer ${good} ${good}` }, 401],
    [path, { authorization: `Basic ${good}` }, 401],
    [path, { authorization: `Token ${good}` }, 401],
    [path, { authorization: good }, 401],
  ]
  for (const [target, headers, status] of table) {
    t.equal(
      (await node.get(target, headers)).status,
      status,
      `${target.slice(0, 60)} ${Object.keys(headers)}`,
    )
  }
})
