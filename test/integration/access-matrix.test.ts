// The access matrix: every entry point with every credential. Only valid credentials are accepted, each rejection has
// its code, and none reveals whether a channel exists.

import { pino } from 'pino'
import t, { type Test } from 'tap'
import { RedisLog } from '../../services/broker/log/redis/log.ts'
import {
  BAD_CHANNEL_TOKENS,
  type Credential,
  CREDENTIALS,
  type Expected,
  expectedOf,
  NOT_THERE,
  type Outcome,
  REFUSALS,
  THERE,
  type Way,
  WAYS,
} from '../contract/access.ts'
import { configOf, type Node, startMemoryNode, startNode } from '../contract/node.ts'
import { ClosedWorld } from '../support/closed-node.ts'
import { startRedis } from '../support/redis-server.ts'

const world = new ClosedWorld()
const SETTINGS = { ...world.settings, H2C_PORT: '0' }

const redis = await startRedis()
t.teardown(() => redis.stop())

let started = 0
const startRedisNode = () =>
  startNode(configOf(SETTINGS), ({ history, idempotencyWindow, logTimeout: timeout }) => {
    const logger = pino({ level: 'silent' })
    const prefix = `access${++started}`
    return new RedisLog({
      url: redis.url,
      prefix,
      retentionOf: () => history,
      idempotencyWindow,
      timeout,
      logger,
    })
  })

async function start(t: Test, startIt: () => Promise<Node>): Promise<Node> {
  const node = await startIt()
  t.teardown(() => node.close())
  await node.append(THERE, '1', '2')
  return node
}

const STATUS: Readonly<Record<string, number>> = {
  FW_UNAUTHORIZED: 401,
  FW_FORBIDDEN_ORIGIN: 403,
  FW_BAD_PARAMETER: 400,
}

function compare(t: Test, { result, challenge }: Outcome, name: string, expected: Expected): void {
  if (expected === 'in') return void t.equal(result, 'in', name)
  const [code, why] = REFUSALS[expected]
  // The Socket.IO client reports only the status of a handshake.
  if (result.startsWith('refused ')) return void t.equal(result, `refused ${STATUS[code]}`, name)
  t.equal(result, code, name)
  if (challenge !== undefined) t.equal(challenge, why, name)
}

async function tryOne(t: Test, node: Node, way: Way, credential: Credential): Promise<void> {
  const expected = expectedOf(credential, way)
  const there = await way.try(node, await credential.show(world, node), THERE)
  compare(t, there, credential.name, expected)
  if (expected === 'in') return
  const notThere = await way.try(node, await credential.show(world, node), NOT_THERE)
  t.equal(
    notThere.answer,
    there.answer.replaceAll(THERE, NOT_THERE),
    `${credential.name}: the existence of the channel is not revealed`,
  )
}

function matrix(engine: string, startIt: () => Promise<Node>, ways: readonly Way[]): void {
  for (const way of ways) {
    t.test(`${way.name} (${engine})`, async t => {
      const node = await start(t, startIt)
      const { count } = await node.log.state(THERE)
      for (const credential of CREDENTIALS) await tryOne(t, node, way, credential)
      const taken = CREDENTIALS.filter(each => expectedOf(each, way) === 'in').length
      const published = way.needs === 'publish' ? taken : 0
      t.equal((await node.log.state(THERE)).count, count + published, 'rejected events were not published')
      t.equal((await node.log.state(NOT_THERE)).count, 0)
      t.equal(node.hub.readers(NOT_THERE), 0)
    })
  }
}

const FEW = ['poll, earliest', 'sse', 'event by id', 'publish one', 'publish many, NDJSON']
const few = WAYS.filter(
  ({ name }) =>
    FEW.some(each => name === `${each}, HTTP/1.1`) ||
    /^ws (subscribe|publish)$|^Socket.IO subscribe, web/.test(name),
)
matrix('memory', () => startMemoryNode(SETTINGS), WAYS)
matrix('redis', startRedisNode, few)

t.test('a channel token that is invalid for the connection is rejected with its request', async t => {
  const node = await start(t, () => startMemoryNode(SETTINGS))
  const takers = WAYS.filter(({ needs, http }) => needs === 'subscribe' || (http && needs !== 'admin'))
  for (const way of takers) {
    for (const [name, token] of Object.entries(BAD_CHANNEL_TOKENS)) {
      const shown = {
        headers: { authorization: `Bearer ${world.token()}` },
        channelToken: token(world),
        ...(way.http ? {} : { says: { token: world.token() } }),
      }
      compare(t, await way.try(node, shown, THERE), `${way.name}: ${name}`, 'invalid')
    }
  }
})

t.test("the node's own channels are closed to everyone, even to a key with all rights", async t => {
  const node = await start(t, () => startMemoryNode(SETTINGS))
  const shown = { headers: { authorization: `Bearer ${world.keys.all.key}` } }
  for (const way of WAYS.filter(({ needs, http }) => http && needs !== 'admin')) {
    for (const channel of ['fanwire:control', 'fanwire:lives:16', 'fanwire:presence:fanwire:control']) {
      const { result } = await way.try(node, shown, channel)
      t.equal(result, 'FW_BAD_CHANNEL', `${way.name} of ${channel}`)
    }
    if (way.needs !== 'publish' && way.needs !== 'presence') continue
    for (const channel of ['fanwire:lives:0', 'fanwire:presence:room:1']) {
      const { result } = await way.try(node, shown, channel)
      t.equal(result, 'FW_BAD_CHANNEL', `${way.name} of ${channel}`)
    }
  }
})

t.test('the log of lives needs a key with the right admin', async t => {
  const node = await start(t, () => startMemoryNode(SETTINGS))
  const [way] = WAYS.filter(({ name }) => name === 'poll, latest, HTTP/1.1')
  const shown = (key: string) => ({ headers: { authorization: `Bearer ${key}` } })
  t.equal((await way?.try(node, shown(world.keys.all.key), 'fanwire:lives:3'))?.result, 'in')
  for (const credential of [world.keys.readers.key, world.token()]) {
    t.equal((await way?.try(node, shown(credential), 'fanwire:lives:3'))?.result, 'FW_FORBIDDEN')
  }
})

t.test('if every page may read, only listed and same-origin pages may send cookies', async t => {
  const node = await startMemoryNode({ ...SETTINGS, ORIGINS: '*' })
  t.teardown(() => node.close())
  const cookie = `${world.settings.TOKEN_COOKIE}=${world.token()}`
  for (const way of WAYS.filter(({ needs, http }) => http && needs === 'subscribe')) {
    const foreign = { headers: { cookie, origin: 'https://evil.example' } }
    compare(t, await way.try(node, foreign, THERE), `${way.name}, a foreign page`, 'origin')
    const own = { headers: { cookie, origin: `http://127.0.0.1:${node.port}` } }
    compare(t, await way.try(node, own, THERE), `${way.name}, a page of the node`, 'in')
  }
})
