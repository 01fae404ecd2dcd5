// Durable Streams, with invalid input: each request gets a status and a code, and the node continues.

import t, { type Test } from 'tap'
import { startMemoryNode } from '../../contract/node.ts'
import { ClosedWorld } from '../../support/closed-node.ts'
import { signToken, testKey, userClaims } from '../../support/tokens.ts'

const KB_64 = 64 * 1024
const JSON_TYPE = { 'content-type': 'application/json' }

const world = new ClosedWorld()
const open = await startMemoryNode({ DURABLE_STREAMS: '1' })
const closed = await startMemoryNode(world.settings)
t.teardown(() => Promise.all([open.close(), closed.close()]))

type Case = readonly [init: RequestInit & { path?: string }, status: number, code: string]

async function check(test: Test, cases: readonly Case[], { port } = open): Promise<void> {
  for (const [{ path = 'bad', ...init }, status, code] of cases) {
    const answer = await fetch(`http://127.0.0.1:${port}/v1/stream/${path}`, init)
    const name = `${init.method ?? 'GET'} ${path.slice(0, 40)}: ${code}`
    test.match(
      { status: answer.status, body: await answer.json() },
      { status, body: { error: { code } } },
      name,
    )
  }
}

const post = (body: string | Buffer, headers: Record<string, string> = {}) =>
  ({ method: 'POST', headers: { ...JSON_TYPE, ...headers }, body }) as const
const put = (headers: Record<string, string>) => ({ method: 'PUT', headers }) as const
const producer = (id: string, epoch: string, seq: string) => ({
  'producer-id': id,
  'producer-epoch': epoch,
  'producer-seq': seq,
})

t.test('invalid requests are rejected with a code', async t => {
  await fetch(`http://127.0.0.1:${open.port}/v1/stream/bad`, put(JSON_TYPE))
  await fetch(`http://127.0.0.1:${open.port}/v1/stream/text`, put({ 'content-type': 'text/plain' }))
  await check(t, [
    [{ path: 'bad?offset=x' }, 400, 'FW_BAD_CURSOR'],
    [{ path: 'bad?offset=a_1' }, 400, 'FW_BAD_CURSOR'],
    [{ path: `bad?offset=${'9'.repeat(4096)}` }, 400, 'FW_BAD_CURSOR'],
    [{ path: 'bad?offset=zz_0000000000000007' }, 410, 'FW_OFFSET_GONE'],
    [{ path: 'bad?offset=-1&offset=now' }, 400, 'FW_BAD_PARAMETER'],
    [{ path: 'bad?live=sse' }, 400, 'FW_BAD_PARAMETER'],
    [{ path: 'bad?offset=-1&live=never' }, 400, 'FW_BAD_PARAMETER'],
    [{ path: 'never' }, 404, 'FW_STREAM_NOT_FOUND'],
    [{ path: '' }, 404, 'FW_NOT_FOUND'],
    [{ path: 'a%00b' }, 400, 'FW_BAD_CHANNEL'],
    [{ path: 'a'.repeat(2000) }, 400, 'FW_BAD_CHANNEL'],
    [{ path: 'fanwire:control' }, 400, 'FW_BAD_CHANNEL'],
    [post('{'), 400, 'FW_BAD_JSON'],
    [post('[1,]'), 400, 'FW_BAD_JSON'],
    [post(Buffer.from([0x22, 0xff, 0x22])), 400, 'FW_BAD_JSON'],
    [post(' '.repeat(KB_64)), 400, 'FW_BAD_JSON'],
    [post('['.repeat(KB_64)), 400, 'FW_BAD_JSON'],
    [post(Buffer.alloc(KB_64)), 400, 'FW_BAD_JSON'],
    [post('[]'), 400, 'FW_BAD_REQUEST'],
    [post(''), 400, 'FW_BAD_REQUEST'],
    [post('x'.repeat(1024 * 1024 + 1)), 413, 'FW_TOO_LARGE'],
    [post('x', { 'content-type': 'text/plain' }), 409, 'FW_STREAM_CONFLICT'],
    [post('x', { 'content-type': '/' }), 415, 'FW_MEDIA_TYPE'],
    [post('1', { 'stream-seq': 'x'.repeat(300) }), 400, 'FW_BAD_REQUEST'],
    [post('1', { 'producer-id': 'p' }), 400, 'FW_BAD_REQUEST'],
    [post('1', producer('p', '-1', '0')), 400, 'FW_BAD_REQUEST'],
    [post('1', producer('p', '0', '1e3')), 400, 'FW_BAD_REQUEST'],
    [post('1', producer('x'.repeat(300), '0', '0')), 400, 'FW_BAD_REQUEST'],
    [post('1', producer('p', '0', '7')), 409, 'FW_STREAM_SEQUENCE'],
    [put({ 'stream-ttl': '+1' }), 400, 'FW_BAD_REQUEST'],
    [put({ 'stream-ttl': '1', 'stream-expires-at': '2030-01-01T00:00:00Z' }), 400, 'FW_BAD_REQUEST'],
    [put({ 'stream-expires-at': 'tomorrow' }), 400, 'FW_BAD_REQUEST'],
    [put({ 'content-type': 'text/plain' }), 409, 'FW_STREAM_CONFLICT'],
    [{ method: 'PATCH' }, 405, 'FW_METHOD_NOT_ALLOWED'],
  ])
})

t.test('wrong signatures, and streams that the rules refuse, are rejected', async t => {
  const forged = signToken(testKey('HS256', world.hs.kid), userClaims('ann'))
  const as = (token: string) => ({ authorization: `Bearer ${token}` })
  const inbox = 'inbox:bob'
  for (const method of ['GET', 'PUT', 'POST', 'DELETE'] as const) {
    const body = method === 'POST' ? { body: '1' } : {}
    const init = (headers: Record<string, string>) => ({
      path: inbox,
      method,
      headers: { ...JSON_TYPE, ...headers },
      ...body,
    })
    await check(
      t,
      [
        [init({}), 401, 'FW_UNAUTHORIZED'],
        [init(as(forged)), 401, 'FW_UNAUTHORIZED'],
        [init(as(`${world.keys.all.key}x`)), 401, 'FW_UNAUTHORIZED'],
        [init(as(world.token())), 403, 'FW_FORBIDDEN'],
      ],
      closed,
    )
  }
})
