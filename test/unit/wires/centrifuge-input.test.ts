// Centrifugo's protocol: invalid input is answered with its code, and the node continues.

import { once } from 'node:events'
import t from 'tap'
import { WebSocket } from 'ws'
import { inboxOf } from '../../../services/broker/control/channels.ts'
import { Connection } from '../../../services/broker/fanout/connection.ts'
import { draftOf } from '../../../services/broker/control/tail.ts'
import { startMemoryNode } from '../../contract/node.ts'
import { rawClient } from '../../support/centrifuge.ts'
import { ClosedWorld } from '../../support/closed-node.ts'
import { signToken, testKey, userClaims } from '../../support/tokens.ts'
import { until } from '../../support/until.ts'

const KB_64 = 64 * 1024

const world = new ClosedWorld()
const node = await startMemoryNode({ CENTRIFUGE: '1' })
const closed = await startMemoryNode(world.settings)
t.teardown(() => Promise.all([node.close(), closed.close()]))

/** A token of the right form and `kid`, signed with another key. */
const stranger = testKey('HS256', world.hs.kid)
const forged = (claims: object = {}) => signToken(stranger, userClaims('ann', { ...claims }))

t.test('an invalid command ends the connection, and the client need not reconnect', async t => {
  for (const message of [
    '',
    'x',
    '[]',
    '{"id":1}{"id":2}',
    '{"id":-1,"ping":{}}',
    '{"ping":{}}',
    '{"id":2,"connect":{}}',
    '{"id":2,"ping":{}}\nx',
    '\n'.repeat(KB_64),
    ' '.repeat(KB_64),
    Buffer.alloc(KB_64),
    '['.repeat(KB_64),
    '{}\n'.repeat(1001),
    Buffer.from([0xff, 0xfe]),
  ]) {
    const { socket, end } = await rawClient(node)
    socket.send(message)
    t.equal((await end).code, 3501, String(message).slice(0, 30))
  }
  const { socket, end } = await rawClient(node)
  socket.send('{"send":{"data":1}}')
  t.equal((await end).code, 3508)
})

t.test('errors in a command are answered', async t => {
  const { ask, socket } = await rawClient(node)
  let id = 10
  const code = async (request: object) => (await ask(JSON.stringify({ id: ++id, ...request }))).error?.code
  t.equal(await code({ nonsense: {} }), 104)
  t.equal(await code({ rpc: { method: 'x' } }), 108)
  t.equal(await code({ subscribe: {} }), 102)
  t.equal(await code({ subscribe: { channel: 'fanwire:lives:0' } }), 102)
  t.equal(await code({ subscribe: { channel: ' '.repeat(KB_64) } }), 102)
  t.equal(await code({ subscribe: { channel: 'a', offset: 'x' } }), 107)
  t.equal(await code({ subscribe: { channel: 'a', type: 1 } }), 108)
  t.equal(await code({ subscribe: { channel: 'a', tf: { key: 1 } } }), 107)
  t.equal(await code({ subscribe: { channel: 'a', join_leave: true } }), 108)
  t.equal(await code({ subscribe: { channel: 'a', recover: true, epoch: 'no', offset: 3, flag: 2 } }), 112)
  t.equal(await code({ subscribe: { channel: 'a' } }), undefined)
  t.equal(await code({ subscribe: { channel: 'a' } }), 105)
  t.equal(await code({ publish: { channel: 'a' } }), 107)
  t.equal(await code({ publish: { channel: 'a', data: 1, key: 'k' } }), 108)
  t.equal(await code({ presence: { channel: 'a' } }), 108)
  t.equal(await code({ history: { channel: 'a', since: 1 } }), 107)
  t.equal(await code({ sub_refresh: { channel: 'b', token: 'x' } }), 107)
  t.equal(await code({ unsubscribe: { channel: 'never' } }), undefined)
  t.equal(await code({ ping: {} }), undefined)
  socket.send('{}')
  t.equal(await code({ ping: {} }), undefined, 'a pong is not answered')
})

t.test('at most 64 commands of one message are in progress, and their order stays', async t => {
  const { ask, messages, socket } = await rawClient(node)
  const { log } = node
  const state = log.state.bind(log)
  const held: (() => void)[] = []
  log.state = async channel => {
    if (channel === 'held') await new Promise<void>(resolve => held.push(resolve))
    return state(channel)
  }
  t.teardown(() => {
    log.state = state
  })
  const ids = Array.from({ length: 1000 }, (_, i) => i + 2)
  socket.send(ids.map(id => `{"id":${id},"history":{"channel":"held"}}`).join('\n'))
  await until('some are in progress', () => held.length >= 64)
  for (let turns = 0; turns < 100; turns++) await new Promise(setImmediate)
  t.equal(held.length, 64)
  log.state = state
  for (const release of held) release()
  await ask('{"id":1002,"ping":{}}')
  const answers = messages.flatMap(message => message.split('\n')).map(line => JSON.parse(line).id)
  t.strictSame(answers, [1, ...ids, 1002])
  socket.terminate()
})

t.test('commands of one message take turns with other clients', async t => {
  const { ask, socket } = await rawClient(node)
  const { limits } = node.app.fanwire
  const { request } = limits
  let inTurn = 0
  let most = 0
  limits.request = party => {
    if (inTurn++ === 0) setImmediate(() => (inTurn = 0))
    most = Math.max(most, inTurn)
    request.call(limits, party)
  }
  t.teardown(() => {
    limits.request = request
  })
  socket.send(Array.from({ length: 1000 }, (_, i) => `{"id":${i + 2},"ping":{}}`).join('\n'))
  await ask('{"id":1002,"ping":{}}')
  t.ok(most <= 64, `${most} in a turn`)
  socket.terminate()
})

t.test('a wrong signature is refused wherever a token is given', async t => {
  const socket = new WebSocket(`ws://127.0.0.1:${closed.port}/connection/websocket`)
  await once(socket, 'open')
  socket.send(JSON.stringify({ id: 1, connect: { token: forged() } }))
  t.equal((await once(socket, 'close'))[0], 3500)

  const { ask } = await rawClient(closed, { token: world.token() })
  let id = 10
  const code = async (request: object) => (await ask(JSON.stringify({ id: ++id, ...request }))).error?.code
  const token = forged({ channel: 'other:1', allow: ['sub'] })
  t.equal(await code({ subscribe: { channel: 'other:1', token } }), 101)
  t.equal(await code({ subscribe: { channel: 'room:1' } }), undefined)
  t.equal(await code({ sub_refresh: { channel: 'room:1', token } }), 101)
  t.equal(await code({ refresh: { token: forged() } }), 101)
  t.equal(await code({ ping: {} }), undefined, 'the connection continues')
})

t.test('a reason that is too long for a close frame is shortened', async t => {
  const socket = new WebSocket(`ws://127.0.0.1:${closed.port}/connection/websocket`)
  await once(socket, 'open')
  socket.send(JSON.stringify({ id: 1, connect: { token: world.token({ channels: ['漢'.repeat(40)] }) } }))
  const [code, reason] = await once(socket, 'close')
  t.equal(code, 3500)
  t.match(String(reason), /漢$/, 'to whole characters')
  t.equal((await closed.get('/healthz')).status, 200, 'the node continues')
})

t.test('an error that cannot be reported ends the connection, not the node', async t => {
  const connected = await rawClient(node)
  const connecting = new WebSocket(`ws://127.0.0.1:${node.port}/connection/websocket`)
  await once(connecting, 'open')
  t.intercept(Connection.prototype, 'write', {
    value() {
      throw new Error('b00m')
    },
  })
  connected.socket.send('{"id":2,"ping":{}}')
  t.equal((await connected.end).code, 1006)
  connecting.send('{"id":1,"connect":{}}')
  t.equal((await once(connecting, 'close'))[0], 1006)
  t.equal((await node.get('/healthz')).status, 200)
})

t.test('an unsubscribe takes back a subscribe with a token that was sent before it', async t => {
  const { ask, socket } = await rawClient(closed, { token: world.token({ caps: undefined }) })
  const channel = 'room:token'
  const token = world.token({ caps: undefined, channel, allow: ['sub'] })
  socket.send(JSON.stringify({ id: 2, subscribe: { channel, token } }))
  t.strictSame(await ask(JSON.stringify({ id: 3, unsubscribe: { channel } })), { id: 3, unsubscribe: {} })
  const again = await ask(JSON.stringify({ id: 4, subscribe: { channel, token } }))
  t.equal(again.error, undefined, 'it is not subscribed any more')
})

t.test('commands on a channel that the rules refuse are forbidden', async t => {
  const { ask } = await rawClient(closed, { token: world.token() })
  const channel = 'inbox:bob'
  let id = 10
  for (const command of ['subscribe', 'publish', 'history', 'presence', 'presence_stats']) {
    const { error } = await ask(JSON.stringify({ id: ++id, [command]: { channel, data: 1, limit: 1 } }))
    t.match(error, { code: 103, message: /^FW_FORBIDDEN/ }, command)
  }
})

// Protobuf ----------------------------------------------------------------------------------------------------

t.test('Protobuf: malformed messages end the connection', async t => {
  for (const bytes of [
    [],
    [0xff],
    [5, 1],
    [2, 0x0f, 0],
    [1, 0xff],
    [3, 0x22, 5, 0],
    Array(KB_64).fill(0),
    Array(70_000).fill(255),
  ]) {
    const url = `ws://127.0.0.1:${node.port}/connection/websocket`
    const socket = new WebSocket(url, 'centrifuge-protobuf')
    await once(socket, 'open')
    t.equal(socket.protocol, 'centrifuge-protobuf')
    socket.send(Buffer.from(bytes))
    const [code] = await once(socket, 'close')
    t.ok(code === 3501 || code === 1009, `${bytes.slice(0, 4)} ${code}`)
  }
})

t.test('Protobuf: errors in a command have the same codes', async t => {
  const socket = new WebSocket(`ws://127.0.0.1:${closed.port}/connection/websocket`, 'centrifuge-protobuf')
  const replies: Buffer[] = []
  socket.on('message', (message: Buffer) => void replies.push(message))
  await once(socket, 'open')
  const delimited = (...parts: Buffer[]) => {
    const body = Buffer.concat(parts)
    return Buffer.concat([Buffer.of(body.length), body])
  }
  const field = (number: number, bytes: Buffer) =>
    Buffer.concat([Buffer.of((number << 3) | 2, bytes.length), bytes])
  const command = (method: number, channel = '') =>
    delimited(Buffer.of(8, 2), field(method, channel === '' ? Buffer.of() : field(1, Buffer.from(channel))))
  socket.send(delimited(Buffer.of(8, 1), field(4, Buffer.of())))
  await once(socket, 'message')
  const cases: [what: string, message: Buffer, code: number][] = [
    ['an unknown command', delimited(Buffer.of(8, 2)), 104],
    ['rpc', command(13), 108],
    ['no channel', command(5), 102],
    ['a subscription without the required token', command(5, 'inbox:bob'), 101],
    ['a history without the required token', command(10, 'inbox:bob'), 101],
    ['a publication without data', command(7, 'room:1'), 107],
  ]
  for (const [what, message, code] of cases) {
    replies.length = 0
    socket.send(message)
    await until(what, () => replies.length === 1)
    // The error's first field, its code.
    t.ok(replies[0]?.includes(Buffer.of(8, code)), what)
  }
  socket.terminate()
})

// HTTP --------------------------------------------------------------------------------------------------------

const post = (path: string, body: string | Buffer, headers: Record<string, string> = {}, of = node) =>
  fetch(`http://127.0.0.1:${of.port}${path}`, { method: 'POST', body, headers })

t.test('connections over HTTP: invalid first messages are answered with a status', async t => {
  const nothing = ' '.repeat(KB_64)
  for (const body of ['', 'x', '[]', nothing, Buffer.alloc(KB_64)]) {
    const answer = await post('/connection/http_stream', body)
    t.match([answer.status, await answer.text()], [400, /"code":"FW_BAD_COMMAND"/], String(body).slice(0, 9))
    t.equal((await post('/emulation', body)).status, 400)
  }
  const bytes = { 'content-type': 'application/octet-stream' }
  t.equal((await post('/connection/http_stream', Buffer.alloc(KB_64, 255), bytes)).status, 400)
  t.equal((await post('/emulation', Buffer.alloc(KB_64, 255), bytes)).status, 400)
  t.equal((await node.get('/connection/sse')).status, 400)
  t.equal((await node.get('/connection/sse?cf_connect=x')).status, 400)
  t.equal((await node.get('/connection/websocket')).status, 426)
  const refused = await post('/connection/uni_http_stream', '{}')
  t.match(await refused.text(), /"disconnect":\{"code":3507/, 'a unidirectional client must name channels')
  const forgery = await post(
    '/connection/http_stream',
    JSON.stringify({ id: 1, connect: { token: forged() } }),
    {},
    closed,
  )
  t.match(await forgery.text(), /"disconnect":\{"code":3500/)
})

t.test('commands over HTTP: those without a session are rejected', async t => {
  const answer = await post('/emulation', '{"session":"x","node":"y","data":"{}"}')
  t.match([answer.status, await answer.json()], [404, { error: { code: 'FW_NOT_FOUND' } }])
})

/** A client over HTTP, to which `pass` relays commands as other nodes do. */
async function emulated() {
  const { body } = await post('/connection/http_stream', '{"id":1,"connect":{}}')
  const lines: string[] = []
  const done = (async () => {
    if (body === null) return
    for await (const text of body.pipeThrough(new TextDecoderStream()))
      lines.push(...text.split('\n').filter(line => line !== ''))
  })().catch(() => {})
  await until('it is connected', () => lines.length > 0)
  const { session, node: id } = JSON.parse(lines[0] as string).connect as { session: string; node: string }
  return {
    lines,
    /** Resolves when the client's response has ended, or was cut. */
    done,
    async pass(...commands: string[]) {
      const data = Buffer.from(commands.join('\n')).toString('base64')
      await node.log.relay(inboxOf(id), [draftOf('message', { session, data })])
    },
  }
}

t.test('commands over HTTP: at most 64 messages from other nodes wait for a busy client', async t => {
  const [busy, flooded, other] = await Promise.all([emulated(), emulated(), emulated()])
  const { log } = node
  const append = log.append.bind(log)
  const held: (() => void)[] = []
  log.append = async (...args) => {
    await new Promise<void>(resolve => held.push(resolve))
    return append(...args)
  }
  t.teardown(() => {
    log.append = append
  })
  const publishes = Array.from(
    { length: 64 },
    (_, n) => `{"id":${n + 2},"publish":{"channel":"busy","data":${n}}}`,
  )
  for (const client of [busy, flooded]) {
    // With 64 commands in progress, the next ones wait.
    await client.pass(...publishes)
    for (let id = 100; id < 164; id++) await client.pass(`{"id":${id},"ping":{}}`)
  }
  await flooded.pass('{"id":164,"ping":{}}')
  await flooded.done
  t.match(JSON.parse(flooded.lines.at(-1) ?? ''), {
    push: { disconnect: { code: 3008, reason: 'too many commands' } },
  })
  await other.pass('{"id":2,"ping":{}}')
  await until('other clients are not affected', () => other.lines.length === 2)
  t.equal(busy.lines.length, 1, 'the client with 64 messages is not affected either')
  log.append = append
  for (const release of held) release()
  await until('they are answered', () => busy.lines.length === 1 + 64 + 64)
  t.ok(busy.lines.every(line => !line.includes('"error"')))
})

t.test('the server API: invalid calls are answered', async t => {
  const api = async (method: string, body: string | Buffer, key = world.keys.all.key) => {
    const answer = await post(`/api/${method}`, body, key === '' ? {} : { 'x-api-key': key }, closed)
    return { status: answer.status, body: (await answer.json()) as { error?: { code: unknown } } }
  }
  const call = '{"channel":"room:api","data":1}'
  t.match(await api('publish', call, ''), { status: 401, body: { error: { code: 'FW_UNAUTHORIZED' } } })
  t.match(await api('publish', call, `${world.keys.all.key}x`), { status: 401 })
  t.match(await api('publish', call, world.token()), { status: 401 }, 'tokens belong to users')
  t.match(await api('publish', call, world.keys.expired.key), { status: 401 })
  for (const [method, body, code] of [
    ['publish', '{"channel":', 107],
    ['publish', '[]', 107],
    ['publish', ' '.repeat(KB_64), 107],
    ['publish', Buffer.alloc(KB_64), 107],
    ['publish', '{"channel":"fanwire:control","data":1}', 102],
    ['publish', '{"channel":"room:api"}', 107],
    ['broadcast', '{"channels":"room:api","data":1}', 107],
    ['broadcast', JSON.stringify({ channels: Array(101).fill('room:api'), data: 1 }), 106],
    ['batch', '{"commands":{}}', 107],
    ['batch', `{"commands":[{"publish":${call}},{"batch":{"commands":[]}}]}`, 107],
    ['nonsense', '{}', 104],
  ] as const)
    t.match(
      await api(method, body),
      { status: 200, body: { error: { code } } },
      `${method} ${body}`.slice(0, 60),
    )
  t.match(await api('publish', call, world.keys.readers.key), { status: 200, body: { error: { code: 103 } } })
})

t.test('the server API: a broadcast and a batch parse their data once, and take turns', async t => {
  const channels = Array.from({ length: 100 }, (_, i) => `room:${i}`)
  const data = Array(10_000).fill({})
  const broadcast = { channels, data }
  const commands = channels.map(channel => ({ publish: { channel, data: 1 } }))
  const bodies = { broadcast: JSON.stringify(broadcast), batch: JSON.stringify({ commands, data }) }
  for (const [method, body] of Object.entries(bodies)) {
    const appended: string[] = []
    let before: number | undefined
    const append = closed.log.append.bind(closed.log)
    closed.log.append = async (channel, drafts) => {
      if (channel.startsWith('room:') && appended.push(channel) === 1)
        setImmediate(() => (before = appended.length))
      return append(channel, drafts)
    }
    const parsed = t.capture(JSON, 'parse', JSON.parse)
    const answer = await post(`/api/${method}`, body, { 'x-api-key': world.keys.all.key }, closed)
    t.notMatch(await answer.text(), 'error')
    closed.log.append = append
    t.strictSame(appended, channels, 'one after another')
    t.equal(before, 1, 'other clients have their turns in between')
    const large = parsed().filter(({ args: [text] }) => text.length > 10_000)
    t.ok(large.length <= 2, `${large.length} times`)
  }
})
