// The effect on connected clients when their token expires, is refreshed or revoked, and when rules and keys
// change.

import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import { pino } from 'pino'
import { io } from 'socket.io-client'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { makeApiKey } from '../../services/broker/access/api-keys.ts'
import { MemoryLog } from '../../services/broker/log/memory.ts'
import { RedisLog } from '../../services/broker/log/redis/log.ts'
import type { Follower } from '../../services/broker/log/log.ts'
import { configOf, type Node, type Settings, startMemoryNode, startNode } from '../contract/node.ts'
import { caps, ClosedWorld, RULES } from '../support/closed-node.ts'
import { startRedis } from '../support/redis-server.ts'
import { stopClock } from '../support/stopped-clock.ts'
import { userClaims } from '../support/tokens.ts'
import { temporaryFolder } from '../support/tools.ts'
import { until } from '../support/until.ts'

/** How long a node accepts a token after its `exp`, s. */
const LEEWAY = 10
const now = () => Math.floor(Date.now() / 1000)
/** How long a short token or key is accepted, ms. */
const SHORT_MS = 2000
/** An expired token whose leeway, and with it each connection that uses it, ends after SHORT_MS. */
const shortToken = (world: ClosedWorld) => world.token({ exp: now() + SHORT_MS / 1000 - LEEWAY })

const redis = await startRedis()
t.teardown(() => redis.stop())

const startRedisNode = (settings: Settings) =>
  startNode(configOf(settings), ({ history, idempotencyWindow, logTimeout: timeout }) => {
    const logger = pino({ level: 'silent' })
    const { url } = redis
    return new RedisLog({
      url,
      prefix: 'live',
      retentionOf: () => history,
      idempotencyWindow,
      timeout,
      logger,
    })
  })

/** A client that reads one channel. */
interface Reader {
  /** The data of the next event. */
  event(): Promise<unknown>
  /** Resolves at the end with all messages, which contain the reason. */
  readonly ended: Promise<string>
  /** Authenticates again, on wires that allow it. */
  auth?(token: string): Promise<unknown>
}

type Connect = (t: Test, node: Node, credential: string, channel: string) => Promise<Reader>

/** A queue of received events. */
class Inbox {
  readonly #come: unknown[] = []
  #wake = () => {}

  put(item: unknown): void {
    this.#come.push(item)
    this.#wake()
  }

  async take(): Promise<unknown> {
    while (this.#come.length === 0) {
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
    return this.#come.shift()
  }
}

async function ask(node: Node, path: string, credential: string): Promise<IncomingMessage> {
  const headers = { authorization: `Bearer ${credential}` }
  const client = request({ host: '127.0.0.1', port: node.port, path, headers, agent: false })
  client.on('error', () => {})
  client.end()
  const [answer] = await once(client, 'response')
  return answer
}

/** Connects over a wire with an endless body. `ended` resolves with the whole text. */
const body =
  (wire: string): Connect =>
  async (t, node, credential, channel) => {
    const answer = await ask(node, `/v1/${wire}?channel=${channel}`, credential)
    t.teardown(() => answer.destroy())
    const inbox = new Inbox()
    let text = ''
    let seen = 0
    answer.on('data', piece => {
      text += piece
      const found = [...text.matchAll(/"data":(\d+)\}/g)]
      for (const [, data] of found.slice(seen)) inbox.put(Number(data))
      seen = found.length
    })
    // A stream whose client should reconnect breaks off without a proper end.
    const ended = new Promise<string>(resolve => {
      answer.once('close', () => resolve(text))
      answer.on('error', () => {})
    })
    return { event: () => inbox.take(), ended }
  }

const CONNECT: Readonly<Record<string, Connect>> = {
  sse: body('sse'),
  stream: body('stream'),
  push: body('push'),
  async ws(t, node, credential, channel) {
    const client = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws?channel=${channel}`, {
      headers: { authorization: `Bearer ${credential}` },
    })
    t.teardown(() => client.terminate())
    const [events, answers] = [new Inbox(), new Inbox()]
    client.on('message', message => {
      const item = JSON.parse(String(message))
      if ('data' in item) events.put(item.data)
      else if ('ok' in item || 'error' in item) answers.put(item)
    })
    const ended = once(client, 'close').then(([code, reason]) => `${code} ${reason}`)
    await once(client, 'open')
    return {
      event: () => events.take(),
      ended,
      async auth(token) {
        client.send(JSON.stringify({ auth: { token } }))
        return answers.take()
      },
    }
  },
  async 'Socket.IO'(t, node, credential, channel) {
    const auth = credential.includes('.') ? { token: credential } : { key: credential }
    const client = io(`http://127.0.0.1:${node.port}`, {
      transports: ['websocket'],
      auth,
      forceNew: true,
      reconnection: false,
    })
    t.teardown(() => client.disconnect())
    const inbox = new Inbox()
    client.onAny((_name, event) => {
      if (event?.data !== undefined) inbox.put(event.data)
    })
    const closed = new Promise<string>(resolve => client.once('close', each => resolve(JSON.stringify(each))))
    const ended = new Promise<string>(resolve => client.once('disconnect', () => resolve(closed)))
    await client.emitWithAck('subscribe', { channel })
    return { event: () => inbox.take(), ended, auth: token => client.emitWithAck('auth', { token }) }
  },
}

const wires = Object.entries(CONNECT)

async function startClosed(t: Test, settings: Settings = {}, start = startMemoryNode) {
  const world = new ClosedWorld()
  const node = await start({ ...world.settings, ...settings })
  t.teardown(() => node.close())
  return { world, node }
}

/** Connects a reader over each wire. */
async function all(t: Test, node: Node, credential: string, channel = 'room:1') {
  return Promise.all(
    wires.map(async ([name, connect]) => ({ name, reader: await connect(t, node, credential, channel) })),
  )
}

async function areEnded(t: Test, readers: Awaited<ReturnType<typeof all>>, word: RegExp): Promise<void> {
  for (const { name, reader } of readers) t.match(await reader.ended, word, name)
}

t.test('a connection ends when its token expires, and its next request is rejected', async t => {
  const clock = stopClock(t)
  const { world, node } = await startClosed(t)
  const token = shortToken(world)
  const held = ask(node, '/v1/long-poll?channel=room:1&wait=55', token)
  const readers = await all(t, node, token)
  await until('the long poll is held', () => node.hub.stats().wires['long-poll']?.connections === 1)
  await node.append('room:1', '1')
  for (const { name, reader } of readers) t.equal(await reader.event(), 1, name)
  clock.forward(SHORT_MS)
  await areEnded(t, readers, /4401.*token expired/)
  for (const { name, reader } of readers) {
    if (name === 'sse') t.match(await reader.ended, /\nretry: 1000\n: 4401 token expired\n$/)
  }
  const answered = await held
  t.equal(answered.statusCode, 200, 'a long poll that has events is answered with them')
  answered.resume()
  const again = await ask(node, '/v1/sse?channel=room:1', token)
  t.equal(again.statusCode, 401)
  t.equal(again.headers['www-authenticate'], 'Bearer realm="fanwire", error="invalid_token"')
  again.resume()
})

t.test(
  'a held long poll is answered with its cursor when its token expires, and the next request with 401',
  async t => {
    const clock = stopClock(t)
    const { world, node } = await startClosed(t)
    const token = shortToken(world)
    const held = ask(node, '/v1/long-poll?channel=room:1&wait=55', token)
    await until('the long poll is held', () => node.hub.stats().wires['long-poll']?.connections === 1)
    clock.forward(SHORT_MS)
    const answer = await held
    t.equal(answer.statusCode, 200)
    const { events, cursor } = JSON.parse(String(await answer.toArray()))
    t.strictSame(events, [])
    const refused = await ask(node, `/v1/long-poll?channel=room:1&cursor=${cursor}`, token)
    t.equal(refused.statusCode, 401)
    t.equal(refused.headers['www-authenticate'], 'Bearer realm="fanwire", error="invalid_token"')
    refused.resume()
    await node.append('room:1', '7')
    const next = await ask(node, `/v1/long-poll?channel=room:1&cursor=${cursor}`, world.token())
    t.match(JSON.parse(String(await next.toArray())), { events: [{ data: 7 }] }, 'nothing is lost meanwhile')
  },
)

t.test('a connection with a refreshed token continues without a gap', async t => {
  const clock = stopClock(t)
  const { world, node } = await startClosed(t)
  const token = shortToken(world)
  const readers = await all(t, node, token)
  const refreshed = readers.filter(({ reader }) => reader.auth !== undefined)
  t.strictSame(
    refreshed.map(({ name }) => name),
    ['ws', 'Socket.IO'],
  )
  for (const { name, reader } of refreshed) {
    t.match(await reader.auth?.(world.token({ sub: 'bob' })), { error: { code: 'FW_FORBIDDEN' } }, name)
    t.match(await reader.auth?.(`${world.token()}x`), { error: { code: 'FW_UNAUTHORIZED' } }, name)
    const exp = now() + 600
    t.strictSame(await reader.auth?.(world.token({ exp })), { ok: { user: 'ann', expires: exp * 1000 } })
  }
  let sent = 0
  const publishing = setInterval(() => void node.append('room:1', String(++sent)), 50)
  t.teardown(() => clearInterval(publishing))
  clock.forward(SHORT_MS)
  await areEnded(
    t,
    readers.filter(each => !refreshed.includes(each)),
    /4401.*token expired/,
  )
  clearInterval(publishing)
  await node.append('room:1', String(++sent))
  for (const { name, reader } of refreshed) {
    const got: unknown[] = []
    while (got.length < sent) got.push(await reader.event())
    t.strictSame(
      got,
      Array.from({ length: sent }, (_, i) => i + 1),
      name,
    )
  }
})

t.test('a grant from a channel token survives a refresh of the connection', async t => {
  const { world, node } = await startClosed(t)
  const poor = () => world.token({ caps: undefined })
  const client = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws`, {
    headers: { authorization: `Bearer ${poor()}` },
  })
  t.teardown(() => client.terminate())
  const inbox = new Inbox()
  client.on('message', message => inbox.put(JSON.parse(String(message))))
  client.on('close', (code, reason) => inbox.put({ code, reason: String(reason) }))
  t.match(await inbox.take(), { open: {} })
  const token = world.token({ caps: undefined, channel: 'room:1' })
  client.send(JSON.stringify({ ref: 1, subscribe: 'room:1', token }))
  t.match(await inbox.take(), { ref: 1, ok: { channel: 'room:1' } })
  client.send(JSON.stringify({ ref: 2, auth: { token: poor() } }))
  t.match(await inbox.take(), { ref: 2, ok: { user: 'ann' } })
  await node.append('room:1', '7')
  t.match(await inbox.take(), { channel: 'room:1', data: 7 })
  client.send(JSON.stringify({ ref: 3, subscribe: 'room:2' }))
  t.match(
    await inbox.take(),
    { ref: 3, error: { code: 'FW_FORBIDDEN' } },
    'the grant covers only that channel',
  )
})

t.test('tokens revoked through one node are disconnected and rejected on all', async t => {
  const world = new ClosedWorld()
  const nodes = await Promise.all([startRedisNode(world.settings), startRedisNode(world.settings)])
  t.teardown(() => Promise.all(nodes.map(node => node.close())))
  const [one, other] = nodes
  if (one === undefined || other === undefined) return t.fail('no nodes')
  const [ann, bob] = [world.token(), world.token({ sub: 'bob' })]
  const readers = await all(t, one, ann)
  const spared = await all(t, one, bob)
  const held = ask(one, '/v1/long-poll?channel=room:1&wait=55', ann)
  await until('the long poll is held', () => one.hub.stats().wires['long-poll']?.connections === 1)
  await other.app.fanwire.control.send('revoke', { user: 'ann', before: Date.now() + 1000 })
  await areEnded(t, readers, /4401.*token revoked/)
  t.match(String(await (await held).toArray()), /FW_UNAUTHORIZED.*token revoked/)
  for (const node of nodes) {
    await until('the token is rejected', async () => {
      const answer = await ask(node, '/v1/poll?channel=room:1', ann)
      answer.resume()
      return answer.statusCode === 401
    })
    const fresh = world.token(userClaims('ann', { caps: caps('room:*', 'sub', 'hst'), iat: now() + 2 }))
    const taken = await ask(node, '/v1/poll?channel=room:1', fresh)
    t.equal(taken.statusCode, 200, 'a token issued afterwards is accepted')
    taken.resume()
  }
  await other.append('room:1', '1')
  for (const { name, reader } of spared) t.equal(await reader.event(), 1, `${name}: of another user`)
})

t.test('a rules change ends readers that lost their right, and keeps the others', async t => {
  const { world, node } = await startClosed(t)
  const [readers, spared] = await Promise.all([
    all(t, node, world.token()),
    all(t, node, world.token(), 'inbox:ann'),
  ])
  const held = ask(node, '/v1/long-poll?channel=room:1&wait=55', world.token())
  await until('the long poll is held', () => node.hub.stats().wires['long-poll']?.connections === 1)
  world.writeRules(RULES.replace('"room:*", subscribe: token', '"room:*", subscribe: nobody'))
  await areEnded(t, readers, /4403.*may not read room:1 any more/)
  const answer = await held
  t.equal(answer.statusCode, 403)
  t.equal(answer.headers['www-authenticate'], 'Bearer realm="fanwire", error="insufficient_scope"')
  t.match(String(await answer.toArray()), /FW_FORBIDDEN/)
  await node.append('inbox:ann', '1')
  for (const { name, reader } of spared) t.equal(await reader.event(), 1, name)
})

t.test('an invalid rules file is reported and leaves the rules unchanged', async t => {
  const { world, node } = await startClosed(t)
  const readers = await all(t, node, world.token())
  const key = { authorization: `Bearer ${world.keys.all.key}` }
  const { access } = node.app.fanwire
  world.writeRules('channels: [{ match: "room:**", subscribe: nobody }]')
  await once(access, 'refused')
  const { status, body: ready } = await node.get('/readyz')
  t.equal(status, 200)
  t.strictSame(JSON.parse(ready).problems, ['FANWIRE_RULES'])
  t.notMatch(ready, /room/, '/readyz, which is public, does not reveal the content of the file')
  t.match((await node.get('/metrics', key)).body, /^fanwire_access_problems\{setting="FANWIRE_RULES"\} 1$/m)
  await node.append('room:1', '1')
  for (const { name, reader } of readers) t.equal(await reader.event(), 1, name)
  world.writeRules(`${RULES}\n# good again`)
  await once(access, 'rules')
  t.notOk('problems' in JSON.parse((await node.get('/readyz')).body))
  t.notMatch((await node.get('/metrics', key)).body, /fanwire_access_problems\{/)
})

t.test('a removed key ends everything opened with it', async t => {
  const { world, node } = await startClosed(t)
  const [readers, spared] = await Promise.all([
    all(t, node, world.keys.readers.key),
    all(t, node, world.keys.all.key),
  ])
  world.writeKeys('readers')
  await areEnded(t, readers, /4401.*key revoked/)
  await node.append('room:1', '1')
  for (const { name, reader } of spared) t.equal(await reader.event(), 1, name)
  const answer = await ask(node, '/v1/sse?channel=room:1', world.keys.readers.key)
  t.equal(answer.statusCode, 401)
  answer.resume()
})

t.test('a changed key ends everything opened with it, and nothing else', async t => {
  const { world, node } = await startClosed(t)
  const { sha256 } = makeApiKey('new', ['subscribe'], ['*']).entry
  const spared = await all(t, node, world.keys.all.key)
  for (const members of [{ sha256 }, { channels: ['other'] }, { until: '2099-01-01' }]) {
    world.changeKey('readers', {})
    await until('the key is accepted again', async () => {
      const answer = await ask(node, '/v1/poll?channel=room:1&cursor=latest', world.keys.readers.key)
      answer.resume()
      return answer.statusCode === 200
    })
    const readers = await all(t, node, world.keys.readers.key)
    world.changeKey('readers', members)
    await areEnded(t, readers, /4401.*key revoked/)
  }
  await node.append('room:1', '1')
  for (const { name, reader } of spared) t.equal(await reader.event(), 1, name)
})

t.test('an expired key ends everything opened with it', async t => {
  const clock = stopClock(t)
  const until = new Date(now() * 1000 + SHORT_MS).toISOString()
  const { key, entry } = makeApiKey('brief', ['subscribe', 'history'], ['*'], until)
  const KEYS_FILE = join(temporaryFolder(), 'keys.json')
  writeFileSync(KEYS_FILE, JSON.stringify([entry]))
  const { node } = await startClosed(t, { KEYS_FILE })
  const readers = await all(t, node, key)
  clock.forward(SHORT_MS)
  await areEnded(t, readers, /4401.*key expired/)
  const answer = await ask(node, '/v1/sse?channel=room:1', key)
  t.equal(answer.statusCode, 401)
  answer.resume()
})

t.test('a removed token key ends the connections of its tokens, including tickets', async t => {
  const { world, node } = await startClosed(t)
  const { tickets, access } = node.app.fanwire
  const { claims } = await access.token(world.token())
  const issued = await tickets.issue(claims)
  const readers = await all(t, node, world.token())
  const ticket = (await tickets.issue(claims)).ticket
  const byTicket = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws?channel=room:1&ticket=${ticket}`)
  t.teardown(() => byTicket.terminate())
  await once(byTicket, 'message')
  const closed = once(byTicket, 'close')
  const spared = await all(t, node, world.token({}, world.rs))
  world.writeTokenKeys(world.rs)
  await areEnded(t, readers, /4401.*token revoked/)
  t.equal((await closed)[0], 4401)
  const late = await fetch(`http://127.0.0.1:${node.port}/v1/poll?channel=room:1&ticket=${issued.ticket}`)
  t.equal(late.status, 401)
  await late.text()
  await node.append('room:1', '1')
  for (const { name, reader } of spared) t.equal(await reader.event(), 1, name)
})

/** A log that follows `room:1` only after `go()`. */
class SlowLog extends MemoryLog {
  readonly asked = new Set<string>()
  go = () => {}
  readonly #going = new Promise<void>(resolve => {
    this.go = resolve
  })

  override async follow(channel: string, follower: Follower) {
    this.asked.add(channel)
    if (channel === 'room:1') await this.#going
    return super.follow(channel, follower)
  }
}

t.test('rules that change while a channel is being opened apply to it', async t => {
  const world = new ClosedWorld()
  let log: SlowLog | undefined
  const node = await startNode(configOf(world.settings), ({ history, idempotencyWindow }) => {
    log = new SlowLog({ retentionOf: () => history, idempotencyWindow })
    return log
  })
  t.teardown(() => node.close())
  const headers = { authorization: `Bearer ${world.token()}` }
  const streamed = ask(node, '/v1/sse?channel=room:1', world.token())
  const held = ask(node, '/v1/long-poll?channel=room:1', world.token())
  const byUrl = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws?channel=room:1`, { headers })
  const byCommand = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws`, { headers })
  t.teardown(() => [byUrl, byCommand].forEach(each => each.terminate()))
  const closed = once(byUrl, 'close')
  await Promise.all([once(byCommand, 'message'), once(byUrl, 'open')])
  byCommand.send('{"ref":1,"subscribe":"room:1"}')
  await until('the channel is opened', () => log?.asked.has('room:1') === true)
  const answer = once(byCommand, 'message')
  world.writeRules(RULES.replace('"room:*", subscribe: token', '"room:*", subscribe: nobody'))
  await once(node.app.fanwire.access, 'rules')
  log?.go()
  for (const answer of await Promise.all([streamed, held])) {
    t.equal(answer.statusCode, 403)
    answer.resume()
  }
  t.match(String((await closed)[1]), /may not read room:1|FW_FORBIDDEN/)
  t.match(JSON.parse(String((await answer)[0])), { ref: 1, error: { code: 'FW_FORBIDDEN' } })
  t.equal(node.hub.readers('room:1'), 0)
})

t.test('refusals and credentials are counted once each, without any names', async t => {
  const { world, node } = await startClosed(t)
  const key = { authorization: `Bearer ${world.keys.all.key}` }
  const client = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws`)
  t.teardown(() => client.terminate())
  await once(client, 'message')
  for (const command of ['{"subscribe":"room:1"}', '{"publish":{"channel":"room:1","data":1}}']) {
    client.send(command)
    t.match(String(await once(client, 'message')), /FW_UNAUTHORIZED/)
  }
  const denied = { authorization: `Bearer ${world.token({ sub: 'user-name', caps: undefined })}` }
  await node.get('/v1/poll?channel=room:secret', denied)
  await node.get('/v1/channels/room:secret/events/a-1', denied)
  await node.get('/v1/poll?channel=room:1', { authorization: `Bearer ${world.token({ exp: 1 })}` })
  const { body: text } = await node.get('/metrics', key)
  for (const line of [
    'fanwire_refused_total{code="FW_UNAUTHORIZED",right="subscribe"} 1',
    'fanwire_refused_total{code="FW_UNAUTHORIZED",right="publish"} 1',
    'fanwire_refused_total{code="FW_FORBIDDEN",right="subscribe"} 1',
    'fanwire_refused_total{code="FW_FORBIDDEN",right="history"} 1',
    'fanwire_credentials_total{outcome="accepted"} 3',
    'fanwire_credentials_total{outcome="expired"} 1',
  ]) {
    t.ok(text.split('\n').includes(line), line)
  }
  t.notMatch(text, /room|secret|user-name/)
})
