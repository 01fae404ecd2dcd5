// Publisher identities: a publisher's data is isolated from others, on every engine and every publish path.

import { once } from 'node:events'
import { io } from 'socket.io-client'
import { Redis } from 'ioredis'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { createApiKeys } from '../../services/broker/access/api-keys.ts'
import { ANONYMOUS } from '../../services/broker/access/identity.ts'
import { scopeOf } from '../../services/http/auth.ts'
import { RedisLog } from '../../services/broker/log/redis/log.ts'
import { configOf, type Node, type StartNode, startMemoryNode, startNode } from '../contract/node.ts'
import { startRedis } from '../support/redis-server.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

const PREFIX = 'identity'
const startRedisNode: StartNode = settings =>
  startNode(configOf(settings ?? {}), ({ history, idempotencyWindow, logTimeout }) => {
    const logger = pino({ level: 'silent' })
    const { url } = redis
    return new RedisLog({
      url,
      prefix: PREFIX,
      retentionOf: () => history,
      idempotencyWindow,
      timeout: logTimeout,
      logger,
    })
  })

const [ALICE, BOB] = ['alice-s3cret', 'bob-s3cret'] as const
const SETTINGS = { PUBLISH_KEY: `${ALICE},${BOB}`, SOCKET_IO: '1' }

const owner = createApiKeys([], [ALICE]).find(ALICE)
const alice = owner.ok ? owner.identity : ANONYMOUS

interface Result {
  readonly id: string
}

/** Publishes an event with the idempotency key `again`. Returns its id. */
type Way = (t: Test, node: Node, channel: string, key: string) => Promise<string>

const bearer = (key: string) => ({ authorization: `Bearer ${key}` })
const url = (node: Node) => `http://127.0.0.1:${node.port}`

const WAYS: Readonly<Record<string, Way>> = {
  async one(_t, node, channel, key) {
    const answer = await fetch(`${url(node)}/v1/channels/${channel}/events`, {
      method: 'POST',
      headers: { ...bearer(key), 'content-type': 'application/json', 'idempotency-key': 'again' },
      body: '1',
    })
    return ((await answer.json()) as Result).id
  },
  async bulk(_t, node, channel, key) {
    const answer = await fetch(`${url(node)}/v1/events`, {
      method: 'POST',
      headers: { ...bearer(key), 'content-type': 'application/json' },
      body: JSON.stringify({ events: [{ channel, data: 1, idempotencyKey: 'again' }] }),
    })
    return ((await answer.json()) as { results: Result[] }).results[0]?.id ?? ''
  },
  async ndjson(_t, node, channel, key) {
    const answer = await fetch(`${url(node)}/v1/events`, {
      method: 'POST',
      headers: { ...bearer(key), 'content-type': 'application/x-ndjson' },
      body: JSON.stringify({ channel, data: 1, idempotencyKey: 'again' }),
    })
    return ((await answer.json()) as Result).id
  },
  async ws(t, node, channel, key) {
    const client = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws`, { headers: bearer(key) })
    t.teardown(() => client.terminate())
    await once(client, 'message')
    client.send(JSON.stringify({ publish: { channel, data: 1, idempotencyKey: 'again' } }))
    const [answer] = await once(client, 'message')
    return JSON.parse(String(answer)).ok.id
  },
  async 'socket.io'(t, node, channel, key) {
    const client = io(url(node), { transports: ['websocket'], auth: { key }, forceNew: true })
    t.teardown(() => client.disconnect())
    const { ok } = await client.emitWithAck('publish', { channel, data: 1, idempotencyKey: 'again' })
    return ok.id
  },
}

for (const [engine, start] of [
  ['memory', startMemoryNode],
  ['redis', startRedisNode],
] as const) {
  t.test(`S10: an idempotency key is scoped to its publisher, on every publish path (${engine})`, async t => {
    const node = await start(SETTINGS)
    t.teardown(() => node.close())
    const channel = `keys-${engine}`
    const ids = { [ALICE]: new Set<string>(), [BOB]: new Set<string>() }
    for (const publish of Object.values(WAYS)) {
      for (const key of [ALICE, BOB] as const) ids[key].add(await publish(t, node, channel, key))
    }
    t.equal(ids[ALICE].size, 1, 'all paths identify the same publisher')
    t.equal(ids[BOB].size, 1)
    t.notSame([...ids[ALICE]], [...ids[BOB]], 'the two publishers differ')
    const { body } = await node.get(`/v1/channels/${channel}`)
    t.equal(JSON.parse(body).count, 2)
    // A publisher without a key cannot forge another's identity.
    const forged = await node.append(channel, { idempotencyKey: `${scopeOf(alice)}again` })
    t.notOk(ids[ALICE].has(forged[0] ?? ''))
  })
}

t.test('S10: a publisher is the same on all nodes, and no key appears in Redis', async t => {
  const nodes = await Promise.all([startRedisNode(SETTINGS), startRedisNode(SETTINGS)])
  t.teardown(() => Promise.all(nodes.map(node => node.close())))
  const ids = await Promise.all(nodes.map(node => WAYS.one?.(t, node, 'nodes', ALICE)))
  t.equal(ids[0], ids[1])
  const client = new Redis(redis.url)
  t.teardown(() => client.disconnect())
  const stored: string[] = []
  for (const key of await client.keys(`${PREFIX}:{nodes}:i*`)) {
    stored.push(...Object.keys(await client.hgetall(key)))
  }
  t.match(stored.join(), /again/)
  t.notMatch(stored.join(), new RegExp(ALICE))
})

t.test('S10: without keys all publishers share the anonymous identity', async t => {
  const node = await startMemoryNode({ SOCKET_IO: '1' })
  t.teardown(() => node.close())
  const ids = new Set<string>()
  for (const publish of Object.values(WAYS)) ids.add(await publish(t, node, 'open', 'whatever'))
  t.equal(ids.size, 1)
  const [known] = await node.append('open', { idempotencyKey: 'again' })
  t.ok(ids.has(known ?? ''))
})

t.test('S10: the identifier of an identity reveals nothing about its key', async t => {
  const ownerOf = (keys: string[], key: string) => {
    const found = createApiKeys([], keys).find(key)
    return found.ok ? found.identity : ANONYMOUS
  }
  t.match(scopeOf(alice), /^[\w-]{16}$/)
  t.not(scopeOf(alice), scopeOf(ownerOf([BOB], BOB)))
  t.equal(scopeOf(alice), scopeOf(ownerOf(['new', ALICE], ALICE)), 'the place in the list does not matter')
  t.equal(scopeOf(ANONYMOUS), '')
})

t.test('H10: a page may publish over a connection only if its origin may publish', async t => {
  const node = await startMemoryNode({
    SOCKET_IO: '1',
    ORIGINS: 'https://reader.example,https://writer.example',
    PUBLISH_ORIGINS: 'https://writer.example',
  })
  t.teardown(() => node.close())
  for (const [origin, may] of [
    ['https://reader.example', false],
    ['https://writer.example', true],
  ] as const) {
    const client = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws?channel=page`, { origin })
    t.teardown(() => client.terminate())
    await once(client, 'message')
    client.send('{"ref":1,"publish":{"channel":"other","data":1}}')
    const [answer] = await once(client, 'message')
    const socket = io(url(node), { transports: ['websocket'], extraHeaders: { origin }, forceNew: true })
    t.teardown(() => socket.disconnect())
    const emitted = await socket.emitWithAck('publish', { channel: 'other', data: 1 })
    for (const reply of [JSON.parse(String(answer)), emitted]) {
      if (may) t.ok(reply.ok.id, origin)
      else t.equal(reply.error.code, 'FW_FORBIDDEN_ORIGIN', origin)
    }
  }
})
