// Hooks for clients of other protocols work as for fanwire's own: with their identity and headers.

import { once } from 'node:events'
import t from 'tap'
import { WebSocket } from 'ws'
import { startMemoryNode } from '../../contract/node.ts'
import { ClosedWorld } from '../../support/closed-node.ts'
import { until } from '../../support/until.ts'
import { type AskedApplication, startApplication } from './application.ts'

const world = new ClosedWorld()
const app = await startApplication(t)
world.writeRules(`
channels:
  - { match: "room:*", subscribe: hook, publish: hook, presence: true }
hooks:
${['connect', 'subscribe', 'publish', 'refresh'].map(name => `  ${name}: { url: "${app.url}", timeout: 20s, headers: [cookie, x-device] }`).join('\n')}`)
const node = await startMemoryNode(world.settings)
t.teardown(() => node.close())

const HEADERS = { cookie: 'sid=1', 'x-device': 'phone', 'x-other': '1' }
const SHOWN = { cookie: 'sid=1', 'x-device': 'phone' }

interface Client {
  readonly socket: WebSocket
  readonly received: string[]
  say(...messages: object[]): void
  receives(text: string): Promise<void>
}

async function open(path: string, headers: Record<string, string> = HEADERS): Promise<Client> {
  const socket = new WebSocket(`ws://127.0.0.1:${node.port}${path}`, { headers })
  t.teardown(() => socket.terminate())
  const received: string[] = []
  socket.on('message', data => received.push(String(data)))
  await once(socket, 'open')
  return {
    socket,
    received,
    say: (...messages) => socket.send(messages.map(each => JSON.stringify(each)).join('\n')),
    receives: text => until(text, () => received.some(each => each.includes(text))),
  }
}

/** The requests to the hooks after the first `from`. */
function shownOf({ asked }: AskedApplication, from: number) {
  return asked.slice(from).map(({ hook, user, transport, channel, headers, client }) => ({
    hook,
    user,
    transport,
    channel,
    headers,
    client,
  }))
}

const asAnn: AskedApplication['answer'] = ({ hook, headers, channel }) => {
  if (hook === 'connect') return { result: { user: 'ann', info: { sid: headers.cookie } } }
  if (hook === 'publish') return { result: {} }
  return { result: { caps: [{ channels: [channel], allow: ['sub', 'hst', 'prs'] }] } }
}

t.test('Centrifuge: connect, subscribe and publish, history and presence', async t => {
  app.answer = asAnn
  const from = app.asked.length
  const { say, receives, received } = await open('/connection/websocket')
  say({ id: 1, connect: {} })
  await receives('"connect"')
  say({ id: 2, subscribe: { channel: 'room:1' } })
  await receives('"id":2')
  say({ id: 3, publish: { channel: 'room:1', data: { a: 1 } } })
  await receives('"id":3')
  const about = { user: 'ann', transport: 'centrifuge', headers: SHOWN }
  const questions = shownOf(app, from)
  t.match(questions, [
    { ...about, hook: 'connect', user: '' },
    { ...about, hook: 'subscribe', channel: 'room:1' },
    { ...about, hook: 'publish', channel: 'room:1' },
  ])
  t.equal(new Set(questions.map(({ client }) => client)).size, 1, 'all requests are of the same client')
  const { connect } = JSON.parse(received[0] ?? '') as { connect: { client: string } }
  t.equal(connect.client, questions[0]?.client, 'the client knows its id')
  say({ id: 4, presence: { channel: 'room:2' } }, { id: 5, history: { channel: 'room:3', limit: 1 } })
  await receives('"id":5')
  t.ok(received.some(each => each.includes('"id":4,"presence"')))
  t.same(
    shownOf(app, from)
      .slice(3)
      .map(({ hook, channel }) => `${hook} ${channel}`)
      .sort(),
    ['subscribe room:2', 'subscribe room:3'],
  )
})

t.test('Centrifuge, one-way: the hook also decides on the first channels', async t => {
  app.answer = asAnn
  const from = app.asked.length
  const socket = await open('/connection/uni_websocket', { ...HEADERS, cookie: 'sid=2' })
  socket.say({ subs: { 'room:4': {} } })
  await socket.receives('room:4')
  t.match(shownOf(app, from), [
    { hook: 'connect', transport: 'centrifuge', headers: { cookie: 'sid=2' } },
    { hook: 'subscribe', user: 'ann', channel: 'room:4', headers: { cookie: 'sid=2' } },
  ])
})

t.test('Centrifuge: the application can disconnect a client', async t => {
  app.answer = question =>
    question.hook === 'connect' ? asAnn(question) : { disconnect: { code: 4512, reason: 'banned' } }
  const { socket, say, receives } = await open('/connection/websocket')
  say({ id: 1, connect: {} })
  await receives('"connect"')
  const closed = once(socket, 'close')
  say({ id: 2, subscribe: { channel: 'room:5' } })
  const [code, reason] = await closed
  t.strictSame([code, String(reason)], [3503, 'banned'])
})

t.test('Pusher: connect and subscribe', async t => {
  app.answer = asAnn
  const from = app.asked.length
  const { say, receives } = await open('/app/key?protocol=7')
  await receives('connection_established')
  say({ event: 'pusher:subscribe', data: { channel: 'room:6' } })
  await receives('subscription_succeeded')
  const about = { transport: 'pusher', headers: SHOWN }
  t.match(shownOf(app, from), [
    { ...about, hook: 'connect', user: '' },
    { ...about, hook: 'subscribe', user: 'ann', channel: 'room:6' },
  ])
  app.answer = ({ hook }) =>
    hook === 'subscribe' ? { error: { code: 7, message: 'not yours' } } : { result: {} }
  say({ event: 'pusher:subscribe', data: { channel: 'room:7' } })
  await receives('not yours')
})
