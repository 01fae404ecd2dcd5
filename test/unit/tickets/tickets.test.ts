// Tickets over HTTP: which credentials get one, what it grants, and pages that use one.

import { join } from 'node:path'
import { createHash } from 'node:crypto'
import t from 'tap'
import { type Node, startMemoryNode } from '../../contract/node.ts'
import { parsePage } from '../../contract/refresh.ts'
import { jwks, signToken, testKey, userClaims } from '../../support/tokens.ts'

const key = testKey('HS256')
const API_KEY = 'fw_of-a-server'
const folder = t.testdir({
  'jwks.json': jwks(key),
  'rules.yaml':
    'channels:\n  - { match: "inbox:{user}", subscribe: user }\n  - { match: "room:*", subscribe: token }\n',
  'keys.json': JSON.stringify([
    {
      id: 'server',
      sha256: createHash('sha256').update(API_KEY).digest('hex'),
      allow: ['subscribe'],
      channels: ['*'],
    },
  ]),
})

const SETTINGS = {
  RULES: join(folder, 'rules.yaml'),
  JWT_KEYS_FILE: join(folder, 'jwks.json'),
  KEYS_FILE: join(folder, 'keys.json'),
  TOKEN_COOKIE: 'session',
  IDEMPOTENCY_WINDOW: '100s',
}
const node = await startMemoryNode(SETTINGS)
t.teardown(() => node.close())

const url = (path: string, of: Node = node) => `http://127.0.0.1:${of.port}${path}`
const bearer = (text: string) => ({ authorization: `Bearer ${text}` })
const tokenOf = (user: string, more: Record<string, unknown> = {}) => signToken(key, userClaims(user, more))
const ask = (headers: Record<string, string>, path = '/v1/tickets', of?: Node) =>
  fetch(url(path, of), { method: 'POST', headers })

interface Issued {
  readonly ticket: string
  readonly expires: number
}

async function ticketFor(token: string): Promise<Issued> {
  const answer = await ask(bearer(token))
  t.equal(answer.status, 201)
  t.equal(answer.headers.get('cache-control'), 'no-store')
  return (await answer.json()) as Issued
}

const statusOf = async (path: string) => (await node.get(path)).status

t.test("a token gets a ticket that reads once, with the token's read rights", async t => {
  const began = Date.now()
  const { ticket, expires } = await ticketFor(tokenOf('ada'))
  t.ok(expires >= began + 30_000 && expires <= Date.now() + 30_000)
  t.equal(await statusOf(`/v1/poll?channel=inbox:ada&ticket=${ticket}`), 200)
  t.equal(await statusOf(`/v1/poll?channel=inbox:ada&ticket=${ticket}`), 401)

  const others = await ticketFor(tokenOf('bob'))
  t.equal(await statusOf(`/v1/poll?channel=inbox:ada&ticket=${others.ticket}`), 403)
})

t.test('a request for a ticket needs no body, and may have an empty one of any type', async t => {
  const ask = async (type: string, body: string) => {
    const headers = { ...bearer(tokenOf('ada')), 'content-type': type }
    const answer = await fetch(url('/v1/tickets'), { method: 'POST', headers, body })
    const { error } = (await answer.json()) as { error?: { code: string; message: string } }
    return error === undefined ? answer.status : `${answer.status} ${error.code} ${error.message}`
  }
  t.equal(await ask('application/x-www-form-urlencoded', ''), 201)
  t.equal(await ask('application/json', ''), 201)
  t.equal(await ask('application/json', '{}'), 201)
  t.equal(
    await ask('application/json', '{"user":"bob"}'),
    '400 FW_BAD_PARAMETER unknown member "user": the body takes none',
  )
  t.match(await ask('application/json', '['), /^400 FW_BAD_JSON/)
  t.match(await ask('text/plain', 'x'), /^415 FW_MEDIA_TYPE/)
})

t.test('a ticket has the grants of the token, and ends with it', async t => {
  const exp = Math.floor(Date.now() / 1000) + 8
  const caps = [{ channels: ['room:*'], allow: ['sub', 'hst'] }]
  const { ticket, expires } = await ticketFor(tokenOf('ada', { exp, caps }))
  t.equal(expires, Math.min(expires, exp * 1000))
  t.equal(await statusOf(`/v1/poll?channel=room:1&ticket=${ticket}`), 200)
})

t.test('a token in a cookie gets a ticket, but not for a foreign page', async t => {
  const cookie = `session=${tokenOf('ada')}`
  t.equal((await ask({ cookie, origin: `http://127.0.0.1:${node.port}` })).status, 201)
  for (const headers of [{ cookie, origin: 'https://evil.example' }, { cookie }]) {
    const answer = await ask(headers as Record<string, string>)
    t.equal(answer.status, 403)
    t.match(await answer.json(), { error: { code: 'FW_FORBIDDEN_ORIGIN' } })
  }
})

t.test('no other credential gets a ticket', async t => {
  const { ticket } = await ticketFor(tokenOf('ada'))
  const expired = signToken(key, { sub: 'ada', exp: 1 })
  const cases: [string, Record<string, string>, string, number, string][] = [
    ['nothing', {}, '', 401, 'FW_UNAUTHORIZED'],
    ['an API key', bearer(API_KEY), '', 403, 'FW_FORBIDDEN'],
    ['a wrong key', bearer('fw_of-nobody'), '', 401, 'FW_UNAUTHORIZED'],
    ['an expired token', bearer(expired), '', 401, 'FW_UNAUTHORIZED'],
    ['a ticket', {}, `?ticket=${ticket}`, 403, 'FW_FORBIDDEN'],
    ['a used ticket', {}, `?ticket=${ticket}`, 401, 'FW_UNAUTHORIZED'],
    ['a token in the URL', {}, `?token=${tokenOf('ada')}`, 400, 'FW_BAD_PARAMETER'],
    ['a parameter', bearer(tokenOf('ada')), '?life=1h', 400, 'FW_BAD_PARAMETER'],
  ]
  for (const [what, headers, query, status, code] of cases) {
    const answer = await ask(headers, `/v1/tickets${query}`)
    const body = await answer.text()
    t.equal(answer.status, status, `${what}: ${body}`)
    t.match(JSON.parse(body), { error: { code } }, what)
  }
})

t.test('a node without tokens has no tickets', async t => {
  const open = await startMemoryNode()
  t.teardown(() => open.close())
  t.equal((await ask(bearer('whatever'), '/v1/tickets', open)).status, 401)
})

t.test('a page opened with a ticket reloads with a fresh one until its token expires', async t => {
  const exp = Math.floor(Date.now() / 1000) + 3600
  const { ticket } = await ticketFor(tokenOf('ada', { exp }))
  let query = `channel=inbox:ada&every=60&ticket=${ticket}`
  const seen = new Set<string>()
  for (let look = 0; look < 4; look++) {
    const { status, headers, body } = await node.get(`/v1/refresh?${query}`)
    t.equal(status, 200)
    t.equal(headers['cache-control'], 'no-store')
    const { again } = parsePage(body)
    t.match(headers.refresh, again)
    t.equal(await statusOf(`/v1/refresh?${query}`), 401, 'each ticket is valid once')
    query = again
    seen.add(new URLSearchParams(again).get('ticket') ?? '')
  }
  t.equal(seen.size, 4)
  t.notOk(seen.has(''))

  const answer = await node.get('/v1/refresh?channel=inbox:ada', bearer(tokenOf('ada')))
  t.notMatch(parsePage(answer.body).again, 'ticket', 'a page opened with a token gets no ticket')
  t.equal(answer.headers['cache-control'], 'private, no-cache')
})

t.test('a page keeps the tokens in its URL', async t => {
  const node = await startMemoryNode({ ...SETTINGS, TOKEN_QUERY: '1' })
  t.teardown(() => node.close())
  const tokens = ['room:1', 'room:2'].map(channel => tokenOf('ada', { channel, allow: ['sub', 'hst'] }))
  let query = `${new URLSearchParams([
    ['channel', 'room:1'],
    ['channel', 'room:2'],
    ['token', tokenOf('ada')],
    ...tokens.map((token): [string, string] => ['channel_token', token]),
  ])}`
  for (let load = 0; load < 3; load++) {
    const { status, headers, body } = await node.get(`/v1/refresh?${query}`)
    t.equal(status, 200)
    t.equal(headers['cache-control'], 'no-store')
    query = parsePage(body).again
    t.match(headers.refresh, query)
  }
})

t.test('a page that reloads after its ticket expired is rejected', async t => {
  const { ticket } = await ticketFor(tokenOf('ada'))
  const { status, body } = await node.get(`/v1/refresh?channel=inbox:ada&every=71&ticket=${ticket}`)
  t.equal(status, 400)
  t.match(JSON.parse(body), { error: { code: 'FW_BAD_PARAMETER', message: /within 70 s/ } })
})

t.test('revoking a token revokes its tickets', async t => {
  const { ticket } = await ticketFor(tokenOf('eve'))
  const { access } = node.app.fanwire
  access.revoke('eve', Date.now() + 2000)
  t.equal(await statusOf(`/v1/poll?channel=inbox:eve&ticket=${ticket}`), 401)
})
