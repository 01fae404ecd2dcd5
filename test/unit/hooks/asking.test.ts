// Hooks with a real node and a real application, which identifies clients and decides what they may read and publish.

import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'
import { Webhook } from 'standardwebhooks'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { type Way, WAYS } from '../../contract/access.ts'
import { type Node, startMemoryNode } from '../../contract/node.ts'
import { ClosedWorld } from '../../support/closed-node.ts'
import { stopClock } from '../../support/stopped-clock.ts'
import { until } from '../../support/until.ts'
import { type AskedApplication, type Question, startApplication } from './application.ts'

const SECRET = `whsec_${Buffer.from('s'.repeat(32)).toString('base64')}`
const seconds = (from: number) => Math.floor(Date.now() / 1000) + from

const world = new ClosedWorld()

interface World {
  readonly node: Node
  readonly app: AskedApplication
  get(path: string, headers?: Record<string, string>): Promise<Reply>
  publish(channel: string, data: unknown, headers?: Record<string, string>): Promise<Reply>
  open(path: string, headers?: Record<string, string>): Promise<Socket>
}

interface Reply {
  readonly status: number
  readonly body: { events: { data: unknown }[]; error: { code: string; message: string; retry?: number } }
}

interface Socket {
  readonly socket: WebSocket
  readonly received: readonly Record<string, never>[]
  say(command: object): void
  /** The next message that has this member. */
  next(member: string): Promise<Record<string, unknown>>
}

/** Starts a node whose rules let the application decide on rooms. `more`: members of each hook; `rules`: more rules. */
async function start(
  t: Test,
  more = '',
  rules = '',
  hooks = 'subscribe publish',
  settings: Readonly<Record<string, string>> = {},
): Promise<World> {
  const app = await startApplication(t)
  world.writeRules(`
channels:
  - { match: "room:*", subscribe: [token, hook], publish: [token, hook], presence: true }
  - { match: "open:*", subscribe: anyone, publish: anyone }
${rules.replaceAll('URL', app.url)}
default: { subscribe: token, publish: nobody }
hooks:
${hooks
  .split(' ')
  .map(name => `  ${name}: { url: "${app.url}", timeout: 20s${more} }`)
  .join('\n')}`)
  const node = await startMemoryNode({ ...world.settings, H2C_PORT: '0', ...settings })
  t.teardown(() => node.close())
  const url = `http://127.0.0.1:${node.port}`
  const replyOf = async (answer: Response) => ({
    status: answer.status,
    body: (await answer.json()) as Reply['body'],
  })
  return {
    node,
    app,
    get: async (path, headers = {}) => replyOf(await fetch(url + path, { headers })),
    publish: async (channel, data, headers = {}) =>
      replyOf(
        await fetch(`${url}/v1/channels/${channel}/events`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', ...headers },
          body: JSON.stringify(data),
        }),
      ),
    async open(path, headers = {}) {
      const socket = new WebSocket(`ws://127.0.0.1:${node.port}${path}`, { headers })
      t.teardown(() => socket.terminate())
      const received: Record<string, never>[] = []
      socket.on('message', data => received.push(JSON.parse(String(data))))
      await once(socket, 'open')
      let read = 0
      return {
        socket,
        received,
        say: command => socket.send(JSON.stringify(command)),
        async next(member) {
          await until(member, () => received.slice(read).some(message => member in message))
          read = received.findIndex((message, i) => i >= read && member in message) + 1
          return received[read - 1] as Record<string, unknown>
        },
      }
    },
  }
}

/** The counts in the metrics, by hook and outcome. */
async function counted({ app }: Node): Promise<Record<string, number>> {
  const metrics = await app.fanwire.metrics.registry.metrics()
  const lines = metrics.matchAll(/^fanwire_hooks_total\{hook="(\w+)",outcome="(\w+)"\} (\d+)$/gm)
  return Object.fromEntries(
    [...lines].map(([, hook, outcome, count]) => [`${hook} ${outcome}`, Number(count)]),
  )
}

const caps = (...allow: string[]) => [{ channels: ['room:*'], allow }]

t.test('every entry point calls the hook and obeys its decision', async t => {
  const { node, app } = await start(t)
  await node.append('room:1', '1')
  app.answer = ({ headers }) =>
    headers.cookie === 'sid=1'
      ? { result: { caps: caps('sub', 'hst', 'prs', 'pub') } }
      : { error: { code: 4100, message: 'log in first' } }
  const ways = WAYS.filter(({ needs, name }) => needs !== 'admin' && !name.endsWith('HTTP/2'))
  const hookOf = ({ needs }: Way) => (needs === 'publish' ? 'publish' : 'subscribe')
  for (const way of ways) {
    const before = app.of(hookOf(way)).length
    const { result } = await way.try(node, { headers: { cookie: 'sid=1', 'x-other': '1' } }, 'room:1')
    t.equal(result, 'in', way.name)
    if (way.needs === 'publish') t.equal(app.of('publish').length, before + 1, way.name)
  }
  for (const way of ways) {
    const { result, answer } = await way.try(node, {}, 'room:1')
    t.equal(result, 'FW_FORBIDDEN', way.name)
    t.match(answer, /"message":"log in first".*"application":4100/, way.name)
  }
  const transports = new Set(app.asked.map(({ transport }) => transport))
  const WIRES = [
    'poll',
    'long-poll',
    'sse',
    'stream',
    'push',
    'refresh',
    'ws',
    'socket.io',
    'mercure',
    'http',
  ]
  t.strictSame([...transports].sort(), WIRES.sort())
  t.notOk(app.asked.some(({ headers }) => 'x-other' in headers))
})

t.test('the request to the hook describes the client and its request', async t => {
  const { app, get, publish, open } = await start(
    t,
    `, headers: [X-Device], secrets: ["${SECRET}"]`,
    '',
    'connect subscribe publish',
  )
  app.answer = ({ hook }) =>
    hook === 'connect' ? { result: { user: 'ann', info: { name: 'Ann' } } } : { result: {} }
  const shown = { 'x-device': 'd7', cookie: 'sid=1', authorization: 'Basic x' }
  await get('/v1/poll?channel=room:1', shown)
  const [connect, subscribe] = app.asked
  const of = ({ hook, client: _, ...rest }: Question) => ({ hook, ...rest, text: undefined, sent: undefined })
  t.same(JSON.parse(connect?.text ?? ''), {
    hook: 'connect',
    client: connect?.client,
    user: '',
    transport: 'poll',
    headers: { 'x-device': 'd7' },
  })
  t.match(of(subscribe as Question), {
    hook: 'subscribe',
    user: 'ann',
    transport: 'poll',
    channel: 'room:1',
    headers: { 'x-device': 'd7' },
  })
  t.match(connect?.client, /^[\w-]{16}$/)
  t.equal(subscribe?.client, connect?.client, 'the same client')
  for (const { text, sent } of app.asked)
    t.ok(new Webhook(SECRET).verify(text, sent as Record<string, string>), 'signed')

  const token = world.token({ sub: 'bob', caps: [], meta: { plan: 7 } })
  await publish('room:1', { text: 'hi' }, { authorization: `Bearer ${token}` })
  t.match(app.of('publish')[0], {
    user: 'bob',
    transport: 'http',
    channel: 'room:1',
    data: { text: 'hi' },
    meta: { plan: 7 },
    headers: {},
  })
  t.equal(app.of('connect').length, 1, 'the connect hook is not called for a client with a token')

  const { say, next } = await open('/v1/ws', shown)
  say({ ref: 1, subscribe: 'room:2' })
  t.match(await next('ok'), { ref: 1, ok: { channel: 'room:2' } })
  const [, , , , last] = app.asked
  t.match(last ?? app.asked.at(-1), {
    hook: 'subscribe',
    transport: 'ws',
    user: 'ann',
    headers: { 'x-device': 'd7' },
  })
})

t.test('the application receives cookies, but no tokens in them', async t => {
  const { app, get } = await start(t, '', '', 'connect subscribe', { TOKEN_COOKIE: 'session' })
  app.answer = ({ hook }) =>
    hook === 'connect' ? { result: { user: 'ann' } } : { result: { caps: caps('sub') } }
  const token = world.token({ caps: [] })
  const own = { 'sec-fetch-site': 'same-origin' }
  const mercure = `mercureAuthorization=${token}; __Secure-mercure_access_token=${token}`
  await get('/v1/poll?channel=room:1', { ...own, cookie: `sid=1; session=${token}; lang=ko; ${mercure}` })
  await get('/v1/poll?channel=room:1', { ...own, cookie: `session=${token}` })
  await get('/v1/poll?channel=room:1', { cookie: `${mercure};sid=2` })
  const headers = app.asked.map(({ hook, headers: shown }) => ({ hook, ...shown }))
  t.strictSame(headers, [
    { hook: 'subscribe', cookie: 'sid=1; lang=ko' },
    { hook: 'subscribe' },
    { hook: 'connect', cookie: 'sid=2' },
    { hook: 'subscribe', cookie: 'sid=2' },
  ])
})

t.test('an admitted client is a member with the info from the application', async t => {
  const { app, open, get } = await start(t, '', '', 'connect')
  app.answer = ({ headers }) => ({
    result:
      headers.cookie === undefined
        ? {}
        : { user: headers.cookie.slice(4), info: { name: 'Ann' }, caps: caps('sub', 'prs', 'pub') },
  })
  t.equal(
    (await get('/v1/poll?channel=room:1&cursor=latest')).status,
    401,
    'an anonymous client without caps is rejected',
  )
  t.equal((await get('/v1/poll?channel=open:1')).status, 200)
  const { received } = await open('/v1/ws?channel=room:1', { cookie: 'sid=ann' })
  await until('it is open', () => received.length > 0)
  t.match(await get('/v1/channels/room:1/presence', { cookie: 'sid=bob' }), {
    status: 200,
    body: { members: [{ user: 'ann', info: { name: 'Ann' } }] },
  })
  t.equal((await get('/v1/poll?channel=room:1', { cookie: 'sid=bob' })).status, 403, 'no history')
  t.equal(
    (await get('/v1/poll?channel=room:1', { cookie: 'sid=bob', origin: 'https://evil.example' })).status,
    403,
  )
  const asked = app.asked.filter(
    ({ headers, transport }) => headers.cookie === 'sid=bob' && transport === 'poll',
  )
  t.equal(asked.length, 1, 'the decision is cached, and the hook is not called for a foreign page')
})

t.test('a decision is cached, and concurrent identical requests call once', async t => {
  const { app, get, node } = await start(t)
  const held: (() => void)[] = []
  app.answer = ({ channel }) =>
    channel === 'room:held'
      ? new Promise(resolve => held.push(() => resolve({ result: {} })))
      : { result: {} }
  const many = Promise.all(Array.from({ length: 20 }, () => get('/v1/poll?channel=room:held')))
  await until('the hook is called', () => held.length > 0)
  held[0]?.()
  t.strictSame([...new Set((await many).map(({ status }) => status))], [200])
  t.equal((await get('/v1/poll?channel=room:held')).status, 200)
  t.equal(app.asked.length, 1)
  const another = get('/v1/poll?channel=room:held', { cookie: 'sid=2' })
  await until('a request with another cookie calls the hook', () => held.length === 2)
  held[1]?.()
  t.equal((await another).status, 200)
  app.answer = () => ({ result: { expire_at: seconds(-5) } })
  await get('/v1/poll?channel=room:2')
  await get('/v1/poll?channel=room:2')
  t.equal(
    app.asked.filter(({ channel }) => channel === 'room:2').length,
    2,
    'an expired decision is not cached',
  )
  node.app.fanwire.access.revoke('', Date.now())
  await get('/v1/poll?channel=room:held')
  t.equal(held.length, 2, 'called again after a revocation')
  t.match(await counted(node), { 'subscribe allowed': 5, 'subscribe kept': Number })
})

t.test('no call is made for granted or forbidden requests', async t => {
  const { app, get, publish } = await start(t)
  const headers = { authorization: `Bearer ${world.token()}` }
  t.equal((await get('/v1/poll?channel=room:1', headers)).status, 200)
  t.equal((await publish('room:1', 1, headers)).status, 201)
  t.equal((await publish('room:1', 1, { authorization: `Bearer ${world.keys.all.key}` })).status, 201)
  t.equal((await get('/v1/poll?channel=room:1&channel=other:1')).status, 401)
  t.equal((await publish('other:1', 1)).status, 401)
  t.equal((await get('/v1/poll?channel=open:1')).status, 200)
  t.equal(app.asked.length, 0)
})

t.test("the application's data replaces the client's", async t => {
  const { app, publish, get, open, node } = await start(t)
  const raw = '{"n":12345678901234567890,\n"x":1e400}'
  app.answer = ({ hook, data }) => {
    if (hook === 'subscribe') return { result: {} }
    if (data === 'bad') return { error: { code: 'rude', message: 'be\nkind' } }
    return data === 'raw' ? response => response.end(`{"result":{"data":${raw}}}`) : { result: {} }
  }
  t.equal((await publish('room:1', 'raw')).status, 201)
  t.match(await publish('room:1', 'bad'), {
    status: 403,
    body: { error: { code: 'FW_FORBIDDEN', message: 'be kind', application: 'rude' } },
  })
  const answer = await fetch(`http://127.0.0.1:${node.port}/v1/poll?channel=room:1`)
  t.match(await answer.text(), '{"n":12345678901234567890, "x":1e400}')

  // Events are published in the client's order, however long each hook takes.
  const answers: (() => void)[] = []
  app.answer = ({ hook }) =>
    hook === 'subscribe'
      ? { result: {} }
      : new Promise(resolve => answers.push(() => resolve({ result: {} })))
  const { say, received } = await open('/v1/ws')
  for (const ref of [1, 2, 3]) say({ ref, publish: { channel: 'room:2', data: ref } })
  await until('all hooks are called', () => answers.length === 3)
  for (const tell of answers.toReversed()) tell()
  await until('all are published', () => received.filter(message => 'ok' in message).length === 3)
  t.match((await get('/v1/poll?channel=room:2')).body.events, [{ data: 1 }, { data: 2 }, { data: 3 }])

  // The hook decides on each event of a bulk publish separately.
  app.answer = ({ data }) => (data === 2 ? { error: { code: 1, message: 'no' } } : { result: {} })
  const many = await fetch(`http://127.0.0.1:${node.port}/v1/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ events: [1, 2, 3].map(data => ({ channel: 'room:3', data })) }),
  })
  t.match(await many.json(), {
    results: [
      { channel: 'room:3' },
      { index: 1, error: { code: 'FW_FORBIDDEN', message: 'no' } },
      { channel: 'room:3' },
    ],
  })
})

t.test("disconnect closes the connection with the application's code", async t => {
  const { app, open, get } = await start(t)
  app.answer = ({ channel }) =>
    channel === 'room:1' ? { result: {} } : { disconnect: { code: 4512, reason: 'banned' } }
  const { socket, say, next } = await open('/v1/ws?channel=room:1')
  const closed = once(socket, 'close')
  say({ ref: 7, subscribe: 'room:2' })
  t.match(await next('error'), {
    ref: 7,
    error: { code: 'FW_FORBIDDEN', message: 'banned', application: 4512 },
  })
  const [code, reason] = await closed
  t.strictSame([code, String(reason)], [4512, 'banned'])
  t.match(await get('/v1/poll?channel=room:3'), {
    status: 403,
    body: { error: { message: 'banned', application: 4512 } },
  })
})

t.test('a missing or invalid answer is a retryable refusal', async t => {
  const hangs = '  - { match: "hang:*", subscribe: hook, hook: { url: "URL", timeout: 200ms } }'
  const { app, get } = await start(t, '', hangs)
  let n = 0
  const refused = async (answer: AskedApplication['answer'], room = 'room') => {
    app.answer = answer
    const { status, body } = await get(`/v1/poll?channel=${room}:${++n}`)
    t.match({ status, ...body.error }, { status: 503, code: 'FW_HOOK_FAILED', retry: Number })
    // A valid answer in between keeps the circuit closed.
    app.answer = () => ({ result: {} })
    t.equal((await get(`/v1/poll?channel=room:${++n}`)).status, 200)
  }
  const raw =
    (text: string): AskedApplication['answer'] =>
    () =>
    response =>
      response.end(text)
  await refused(() => () => {}, 'hang')
  await refused(() => response => void response.writeHead(500).end('{"result":{}}'))
  await refused(() => response => void response.writeHead(302, { location: app.url }).end())
  await refused(() => response => void response.socket?.destroy())
  await refused(() => response => void response.write('{"result":'), 'hang')
  await refused(() => response => {
    // The node stops reading, so the rest of the response is never sent.
    const sent = response.write('x'.repeat(10 * 2 ** 20))
    response.once('close', () => t.notOk(sent && response.writableFinished, 'cut off'))
  })
  for (const text of [
    '',
    'no',
    '[]',
    '{}',
    'null',
    '{"result":1}',
    '{"ok":true}',
    '{"result":{},"error":{}}',
    '{"result":{"users":"ann"}}',
    '{"result":{"user":7}}',
    '{"result":{"user":"a\\u0007"}}',
    `{"result":{"info":"${'x'.repeat(100_000)}"}}`,
    `{"result":{"info":"${'x'.repeat(5000)}"}}`,
    '{"result":{"caps":[{"channels":["room:**"],"allow":["sub"]}]}}',
    '{"result":{"caps":[{"channels":["room:*"],"allow":["admin"]}]}}',
    '{"result":{"expire_at":"soon"}}',
    '{"result":{"expire_at":1}}',
    '{"disconnect":{"code":1000,"reason":""}}',
    '{"error":"no"}',
  ])
    await refused(raw(text))
})

t.test('unsigned and wrongly signed answers are rejected if the hook requires signatures', async t => {
  const { app, get } = await start(t, `, secrets: ["${SECRET}"], answers: signed`)
  const webhook = new Webhook(SECRET)
  const body = '{"result":{}}'
  const signed =
    (id: (sent: string) => string, at = new Date(), text = body): AskedApplication['answer'] =>
    ({ sent }) =>
    response => {
      const name = id(String(sent['webhook-id']))
      response.setHeader('webhook-id', name)
      response.setHeader('webhook-timestamp', `${Math.floor(at.getTime() / 1000)}`)
      response.setHeader('webhook-signature', webhook.sign(name, at, body))
      response.end(text)
    }
  const right = signed(id => id)
  const statuses: number[] = []
  let n = 0
  const tried = [
    right,
    () => response => void response.end(body),
    right,
    signed(() => 'msg_other'),
    right,
    signed(id => id, new Date(Date.now() - 400_000)),
    right,
    signed(id => id, new Date(), '{"result":{"user":"root"}}'),
    right,
  ] satisfies AskedApplication['answer'][]
  for (const answer of tried) {
    app.answer = answer
    statuses.push((await get(`/v1/poll?channel=room:${++n}`)).status)
  }
  t.strictSame(statuses, [200, 503, 200, 503, 200, 503, 200, 503, 200])
})

t.test('a dead application delays nobody else; the circuit opens, and closes again', async t => {
  const { app, get, open, publish, node } = await start(t)
  const held: ServerResponse[] = []
  app.answer = () => response => void held.push(response)
  const other = await open('/v1/ws?channel=open:1')
  await other.next('open')
  const refused = Promise.all(Array.from({ length: 50 }, (_, n) => get(`/v1/poll?channel=room:${n}`)))
  await until('all hooks are called', () => held.length === 50)
  let isOver = false
  void refused.then(() => (isOver = true))
  t.equal((await publish('open:1', 1)).status, 201)
  t.match(await other.next('data'), { data: 1 })
  t.notOk(isOver, 'other clients receive their events meanwhile')
  for (const response of held) response.destroy()
  t.strictSame([...new Set((await refused).map(({ status }) => status))], [503])

  // If a request comes after that moment, it calls the application, fails, and opens the circuit again.
  app.answer = () => response => void response.destroy()
  let asked = 0
  let reply: Reply | undefined
  await until('the application is not called', async () => {
    asked = app.asked.length
    reply = await get('/v1/poll?channel=room:next')
    return app.asked.length === asked
  })
  t.match(
    { status: reply?.status, ...reply?.body.error },
    { status: 503, code: 'FW_HOOK_FAILED', message: /not called for a moment/, retry: Number },
  )
  app.answer = () => ({ result: {} })
  await until('it is called again', async () => (await get('/v1/poll?channel=room:again')).status === 200)
  t.equal(app.asked.length, asked + 1, 'the circuit lets one request through')
  t.match(await counted(node), {
    'subscribe failed': asked,
    'subscribe open': Number,
    'subscribe allowed': 1,
  })
})

t.test('an unreachable application, and onFailure of a rule', async t => {
  // Nothing listens on port 1. A port that was free a moment ago may be in use again.
  const gone = 'hook: { url: "http://127.0.0.1:1/", onFailure: '
  const { get, publish } = await start(
    t,
    '',
    `  - { match: "deny:*", subscribe: hook, publish: hook, ${gone}deny } }
  - { match: "allow:*", subscribe: hook, publish: hook, ${gone}allow } }`,
  )
  t.match(await get('/v1/poll?channel=deny:1'), { status: 503, body: { error: { code: 'FW_HOOK_FAILED' } } })
  t.match(await publish('deny:1', 1), { status: 503, body: { error: { code: 'FW_HOOK_FAILED' } } })
  t.equal((await publish('allow:1', 1)).status, 201)
  t.match((await get('/v1/poll?channel=allow:1')).body.events, [{ data: 1 }])
})

t.test('refresh extends a session, and an expired one ends', async t => {
  const { app, open, node } = await start(t, '', '', 'connect refresh')
  const until1 = seconds(2)
  app.answer = ({ hook, headers }) => {
    if (hook === 'refresh')
      return headers.cookie === 'sid=bad'
        ? { disconnect: { code: 4401, reason: 'logged out' } }
        : { result: { expire_at: until1 + 1000 } }
    return {
      result: {
        user: 'ann',
        caps: caps('sub'),
        expire_at: headers.cookie === 'sid=old' ? seconds(-9) : until1,
      },
    }
  }
  const { socket } = await open('/v1/ws?channel=room:1', { cookie: 'sid=1' })
  const bad = once((await open('/v1/ws?channel=room:1', { cookie: 'sid=bad' })).socket, 'close')
  const [code, reason] = await bad
  t.strictSame([code, String(reason)], [4401, 'logged out'])
  await until('it continues', () =>
    [...node.app.fanwire.clients].some(({ identity }) => identity.expiresAt === until1 + 1000),
  )
  const [client] = node.app.fanwire.clients
  t.match(
    client?.identity,
    { user: 'ann', grants: [{ source: 'hook' }] },
    'the identity stays the same otherwise',
  )
  t.match(app.of('refresh')[0], { user: 'ann', transport: 'ws' })
  t.equal(app.of('refresh').find(({ headers }) => headers.cookie === 'sid=1')?.client, client?.id)
  t.equal(socket.readyState, WebSocket.OPEN)

  app.answer = ({ hook }) =>
    hook === 'refresh'
      ? { error: { code: 1, message: 'no' } }
      : { result: { user: 'ann', caps: caps('sub'), expire_at: seconds(-9) } }
  // The node accepts the session for the rest of this second: the time stands still until it has begun.
  const clock = stopClock(t)
  const old = await open('/v1/ws?channel=room:1', { cookie: 'sid=old' })
  const closed = once(old.socket, 'close')
  await old.next('open')
  clock.forward(1000)
  const [ended, why] = await closed
  t.strictSame([ended, String(why)], [4401, 'session expired'])
})

t.test('a session whose refresh fails and allows continues, and the application is asked again', async t => {
  const clock = stopClock(t)
  const { app, open, node } = await start(t, ', onFailure: allow', '', 'connect refresh')
  const first = seconds(4)
  app.answer = ({ hook }) =>
    hook === 'refresh'
      ? response => response.writeHead(500).end()
      : { result: { user: 'ann', caps: caps('sub'), expire_at: first } }
  const { socket, next } = await open('/v1/ws?channel=room:1')
  const closed = once(socket, 'close')
  await next('open')
  clock.forward(3000)
  const { clients } = node.app.fanwire
  await until('it continues', () => [...clients].some(({ identity: { expiresAt = 0 } }) => expiresAt > first))
  t.match([...clients][0]?.identity, { user: 'ann', grants: [{ source: 'hook' }] })
  t.equal(socket.readyState, WebSocket.OPEN)

  app.answer = () => ({ disconnect: { code: 4401, reason: 'logged out' } })
  clock.forward(59_000)
  const [code, reason] = await closed
  t.strictSame([code, String(reason)], [4401, 'logged out'])
  t.equal(app.of('refresh').length, 2)
})

t.test('rules without a hook make no calls', async t => {
  const { app, get, node } = await start(t)
  t.ok(node.app.fanwire.access.asking)
  world.writeRules('channels: [{ match: "room:*", subscribe: anyone }]')
  await until('they are read', () => node.app.fanwire.access.rules.list.length === 1)
  t.equal(node.app.fanwire.access.asking, undefined)
  t.equal((await get('/v1/poll?channel=room:1')).status, 200)
  t.equal(app.asked.length, 0)
  await wait(0)
})

t.test('explain reports that a hook decides', async t => {
  const { node, app } = await start(t)
  const answer = await fetch(`http://127.0.0.1:${node.port}/v1/admin/explain`, {
    method: 'POST',
    headers: { authorization: `Bearer ${world.keys.all.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ user: 'ann', right: 'subscribe', channel: 'room:1' }),
  })
  t.match(await answer.json(), {
    allowed: false,
    why: /the application decides: the hook is http:\/\/127\.0\.0\.1:\d+\/ask/,
    hook: { url: app.url },
  })
  t.equal(app.asked.length, 0)
})
