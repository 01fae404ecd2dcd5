// The ACL in docs/deploy/redis.md is sufficient for a node: Redis rejects none of its commands.

import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import t from 'tap'
import { WebSocket } from 'ws'
import { ROOT } from '../../bench/files.ts'
import { startNode } from '../support/node.ts'
import { startRedis } from '../support/redis-server.ts'

const document = readFileSync(join(ROOT, 'docs/deploy/redis.md'), 'utf8')
const [line = '', name = '', rules = ''] = /^user (\w+) (.*)$/m.exec(document) ?? []

t.test('the documented ACL is infra/redis.acl', async t => {
  t.equal(`${line}\n`, readFileSync(join(ROOT, 'infra/redis.acl'), 'utf8'))
})

t.test('a node with that user publishes, reads, follows and trims', async t => {
  const redis = await startRedis()
  const admin = new Redis(redis.url)
  t.teardown(async () => {
    admin.disconnect()
    await redis.stop()
  })
  await admin.call('ACL', 'SETUSER', name, ...rules.split(' '))
  const url = redis.url.replace('redis://', `redis://${name}:password@`)
  const node = await startNode({ env: { REDIS_URL: url, FANWIRE_HISTORY_EVENTS: '2' } })
  const socket = new WebSocket(`${node.url.replace('http', 'ws')}/v1/ws?channel=news`)
  await once(socket, 'message')
  for (const n of [1, 2, 3]) {
    const event = once(socket, 'message')
    const { status } = await fetch(`${node.url}/v1/channels/news/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': `key-${n}` },
      body: `${n}`,
    })
    t.equal(status, 201)
    t.equal(JSON.parse(`${(await event)[0]}`).data, n)
  }
  const page = await (await fetch(`${node.url}/v1/poll?channel=news`)).json()
  t.match(page, { events: [{ data: 2 }, { data: 3 }] })
  socket.terminate()
  t.same(await node.stop(), { code: 0, signal: null })
  t.strictSame(await admin.call('ACL', 'LOG'), [], 'Redis refused nothing')
})
