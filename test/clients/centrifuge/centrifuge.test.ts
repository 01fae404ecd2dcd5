// The clients of Centrifuge in JavaScript, Python and Go, unmodified, in JSON and in Protobuf, behind two nodes with
// their log in Redis: connect, authorise, refresh tokens, subscribe, publish, history, presence, and recovery on
// another node and over a restart. `npm run test:clients` runs all three, `npm test` only the one in JavaScript.

import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { RedisLog } from '../../../services/broker/log/redis/log.ts'
import { configOf, type Node, startNode } from '../../contract/node.ts'
import { ClosedWorld } from '../../support/closed-node.ts'
import { startFaultyProxy } from '../../support/faulty-proxy.ts'
import { redisLogOptions } from '../../support/redis-logs.ts'
import { startRedis } from '../../support/redis-server.ts'
import { signToken, userClaims } from '../../support/tokens.ts'
import { goProgram } from '../go.ts'
import { preparePython, withoutPython } from '../python.ts'
import { Client, type Program } from './program.ts'

// The first run downloads and builds the libraries.
t.setTimeout(600_000)

const GO = goProgram('centrifuge/go/', 'centrifuge')
const file = (name: string) => fileURLToPath(new URL(name, import.meta.url))

interface Language {
  readonly name: string
  /** The reason why it is unavailable here; false if it is available. */
  readonly without: string | false
  prepare(): Promise<Program>
}

const ALL: readonly Language[] = [
  {
    name: 'centrifuge-js',
    without: false,
    prepare: async () => ({ command: process.execPath, args: [file('centrifuge-js.js')] }),
  },
  {
    name: 'centrifuge-python',
    without: withoutPython,
    prepare: async () => ({ command: await preparePython(), args: ['-B', file('centrifuge_python.py')] }),
  },
  {
    name: 'centrifuge-go',
    without: GO.without,
    prepare: async () => ({ command: await GO.prepare(), args: [] }),
  },
]
const LANGUAGES = process.env.CLIENTS === 'all' ? ALL : ALL.slice(0, 1)

const redis = await startRedis()
t.teardown(() => redis.stop())
const world = new ClosedWorld()
const { prefix = '' } = redisLogOptions(redis.url)
const start = () =>
  startNode(
    configOf({ ...world.settings, PRESENCE_GRACE: '50ms' }),
    ({ history, idempotencyWindow }) =>
      new RedisLog(redisLogOptions(redis.url, { prefix, retentionOf: () => history, idempotencyWindow })),
  )
let [one, other] = await Promise.all([start(), start()])
t.teardown(() => Promise.all([one.close(), other.close()]))

const soon = (seconds: number) => Math.floor(Date.now() / 1000) + seconds

async function api(method: string, params: object): Promise<void> {
  const answer = await fetch(`http://127.0.0.1:${other.port}/api/${method}`, {
    method: 'POST',
    headers: { 'x-api-key': world.keys.all.key },
    body: JSON.stringify(params),
  })
  const { error } = (await answer.json()) as { error?: object }
  if (error !== undefined) throw new Error(JSON.stringify(error))
}

/** Everything that the client can do, with a user and channels of its own. */
async function run(t: Test, program: Program, name: string, protobuf: boolean): Promise<void> {
  const channel = `room:${name}`
  const granted = `other:${name}`
  const token = (claims: object) => world.token({ sub: name, ...claims })
  const proxy = await startFaultyProxy(one.port)
  t.teardown(() => proxy.close())
  const begin = (...tokens: string[]) => {
    const url = `${proxy.url.replace('http', 'ws')}/connection/websocket`
    const client = new Client(program, { url, tokens, protobuf })
    t.teardown(() => client.stop())
    return client
  }
  /** Cuts the connection and awaits `meanwhile`; then the client reconnects to `node`. */
  const moveTo = async (node: Node, meanwhile: () => Promise<unknown>) => {
    proxy.faults.refuse = true
    proxy.cut()
    await client.next('connecting')
    await meanwhile()
    proxy.target = () => node.port
    proxy.faults.refuse = false
    await client.next('connected')
  }
  const recovers = async (data: unknown) => {
    t.match(await client.next('subscribed', { channel }), { wasRecovering: true, recovered: true })
    t.match(await client.next('publication', { channel }), { data })
    await client.next('subscribed', { channel: granted })
  }

  const stranger = begin(`${token({})}x`)
  await stranger.order({ do: 'connect' })
  t.match(await stranger.next('disconnected'), { code: 3500 }, 'an invalid token is final')
  await stranger.stop()

  const client = begin(token({ exp: soon(-60) }), token({ exp: soon(3) }), token({}))
  await client.order({ do: 'connect' })
  await client.next('token')
  await client.next('connected')
  await client.next('connecting')

  await client.order({ do: 'subscribe', channel, joinLeave: true })
  await client.next('subscribed', { channel })
  await client.order({ do: 'subscribe', channel: 'inbox:bob' })
  t.match(await client.next('unsubscribed', { channel: 'inbox:bob' }), { code: 103 }, 'refused by the rules')
  const grant = (exp: number) =>
    signToken(world.hs, userClaims(name, { channel: granted, allow: ['sub', 'pub', 'hst'], exp }))
  await client.order({ do: 'subscribe', channel: granted, tokens: [grant(soon(3)), grant(soon(3600))] })
  await client.next('subscribed', { channel: granted })

  await client.order({ do: 'publish', channel, data: { n: 1 } })
  t.match(await client.next('publication', { channel }), { data: { n: 1 } })
  await api('publish', { channel, data: { n: 2 } })
  t.match(await client.next('publication', { channel }), { data: { n: 2 } }, 'published on another node')
  await t.rejects(client.order({ do: 'publish', channel: 'inbox:bob', data: 1 }), { code: 103 })
  t.strictSame(await client.order({ do: 'history', channel }), [{ n: 1 }, { n: 2 }])

  await client.next('join', { channel, user: name })
  const guest = begin(token({ sub: `guest of ${name}` }))
  await guest.order({ do: 'connect' })
  await guest.order({ do: 'subscribe', channel })
  await guest.next('subscribed', { channel })
  await client.next('join', { channel, user: `guest of ${name}` })
  const members = (await client.order({ do: 'presence', channel })) as string[]
  t.strictSame(members.toSorted(), [`guest of ${name}`, name].toSorted())
  await guest.stop()
  await client.next('leave', { channel, user: `guest of ${name}` })

  await client.next('token', { channel: '' })
  await client.next('token', { channel: granted })

  await moveTo(other, () => api('publish', { channel, data: { n: 3 } }))
  await recovers({ n: 3 })
  await moveTo(one, () => api('publish', { channel, data: { n: 4 } }))
  await recovers({ n: 4 })

  proxy.target = () => other.port
  await one.hub.connections.drain(0)
  t.match(await client.next('connecting'), { code: 3001 }, 'a node that stops')
  await client.next('connected')
  t.match(await client.next('subscribed', { channel }), { recovered: true })
  await client.next('subscribed', { channel: granted })
  await one.close()
  one = await start()
  await moveTo(one, () => api('publish', { channel, data: { n: 5 } }))
  await recovers({ n: 5 })

  await api('unsubscribe', { user: name, channel: granted })
  t.match(await client.next('unsubscribed', { channel: granted }), { code: 2000 })
  await api('disconnect', { user: name })
  t.match(await client.next('connecting'), { code: 3011 }, 'an admin disconnects the client')
  await client.next('connected')
  t.match(await client.next('subscribed', { channel }), { recovered: true })
}

for (const { name, without, prepare } of LANGUAGES) {
  t.test(name, { skip: without }, async t => {
    let program: Program
    try {
      program = await prepare()
    } catch (error) {
      // Without a network, this client is skipped; in CI it must run.
      if (process.env.CI) throw error
      return void t.test('its library', { skip: (error as Error).message }, async () => {})
    }
    for (const protobuf of [false, true]) {
      const encoding = protobuf ? 'protobuf' : 'json'
      await t.test(encoding, t => run(t, program, `${name}-${encoding}`, protobuf))
    }
  })
}
