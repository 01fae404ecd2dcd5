// Server control over three nodes on a real Redis: a command to one node runs on all, a query to one covers all.

import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { pino } from 'pino'
import t from 'tap'
import { reservedRetention } from '../../services/broker/control/channels.ts'
import { RedisLog } from '../../services/broker/log/redis/log.ts'
import { configOf, startNode } from '../contract/node.ts'
import { startRedis } from '../support/redis-server.ts'
import { jwks, signToken, testKey, userClaims } from '../support/tokens.ts'
import { until } from '../support/until.ts'
import { client, follow } from '../unit/admin/node.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

const key = testKey('HS256')
const ADMIN = 'fw_admin'
const folder = t.testdir({
  'jwks.json': jwks(key),
  'rules.yaml': 'channels:\n  - { match: "inbox:{user}", subscribe: user }\n',
  'keys.json': JSON.stringify([
    {
      id: 'console',
      sha256: createHash('sha256').update(ADMIN).digest('hex'),
      allow: ['admin'],
      channels: ['*'],
    },
  ]),
})
const config = configOf({
  RULES: join(folder, 'rules.yaml'),
  JWT_KEYS_FILE: join(folder, 'jwks.json'),
  KEYS_FILE: join(folder, 'keys.json'),
})
const reserved = reservedRetention()
const start = () =>
  startNode(
    config,
    ({ history, idempotencyWindow, logTimeout }) =>
      new RedisLog({
        url: redis.url,
        prefix: 'admin',
        retentionOf: channel => reserved(channel) ?? history,
        idempotencyWindow,
        timeout: logTimeout,
        logger: pino({ level: 'silent' }),
      }),
  )
const nodes = [await start(), await start(), await start()] as const
t.teardown(() => Promise.all(nodes.map(node => node.close())))
const [first, second, third] = nodes
const { get, post } = client(first)
const asAdmin = (path: string, body?: unknown) => post(path, body, ADMIN)
const look = async (path: string) => (await get(path, ADMIN)).body
/** A list to which all nodes contributed: a busy one may not answer in time. */
const lookAtAll = async (path: string) => {
  let list = await look(path)
  await until('all nodes answer', async () => {
    if ((list.silent as unknown[]).length > 0) list = await look(path)
    return (list.silent as unknown[]).length === 0
  })
  return list
}
await until('all nodes know of each other', () =>
  nodes.every(node => node.app.fanwire.nodes.list().length === 3),
)

const issued = Math.floor(Date.now() / 1000) - 60
const token = (user: string) => signToken(key, userClaims(user, { iat: issued }))
const reads = (node: typeof first, user: string) =>
  follow(t, node, `/v1/sse?channel=inbox:${user}`, token(user))

t.test('the lists of one node cover all nodes', async t => {
  t.equal(((await look('/v1/admin/nodes')).nodes as unknown[]).length, 3)
  await reads(second, 'list')
  await reads(third, 'list')
  const { connections } = await lookAtAll('/v1/admin/connections?user=list')
  t.strictSame(
    (connections as { node: string }[]).map(({ node }) => node).sort(),
    [second, third].map(node => node.app.fanwire.nodes.id).sort(),
  )
  t.match(await lookAtAll('/v1/admin/channels?match=inbox:list'), { channels: [{ readers: 2, nodes: 2 }] })

  const [id = ''] = await third.append('inbox:list', '1')
  await until('both readers have it', async () => {
    const { body } = await asAdmin('/v1/admin/explain', { user: 'list', channel: 'inbox:list', id })
    return (body.readers as { had: boolean }[]).every(({ had }) => had)
  })
})

t.test('disconnect on one node ends the reader on another', async t => {
  const reader = await reads(second, 'ada')
  t.equal((await asAdmin('/v1/admin/users/ada/disconnect')).status, 202)
  await reader.ended
  t.match(reader.text, 'disconnected')
  t.notMatch(reader.text, 'revoked')
})

t.test('revoke on one node ends the reader on another, and rejects the token everywhere', async t => {
  const reader = await reads(third, 'eve')
  t.equal((await asAdmin('/v1/admin/users/eve/revoke')).status, 202)
  await reader.ended
  for (const node of nodes) {
    await until('the token is refused', async () => {
      const { status } = await client(node).get('/v1/poll?channel=inbox:eve', token('eve'))
      return status === 401
    })
  }
})

t.test('unsubscribe on one node ends the reader on another', async t => {
  const reader = await reads(second, 'bob')
  t.equal((await asAdmin('/v1/admin/channels/inbox:bob/unsubscribe', { user: 'bob' })).status, 202)
  await reader.ended
})

t.test('a ticket from one node is valid once on another', async t => {
  const issuedTicket = await post('/v1/tickets', undefined, token('tom'))
  const path = `/v1/poll?channel=inbox:tom&ticket=${String(issuedTicket.body.ticket)}`
  t.equal((await client(second).get(path, '')).status, 200)
  t.equal((await client(third).get(path, '')).status, 401)
})
