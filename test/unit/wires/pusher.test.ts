// Pusher with its own clients: pusher-js, laravel-echo and the library for servers, with a node in this process. For
// invalid input, see pusher-input.test.ts.

import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import Echo from 'laravel-echo'
import t from 'tap'
import { presenceOf } from '../../../services/broker/event/names.ts'
import { resume } from '../../../client/pusher.ts'
import { APP, type Message, startPusherNode } from '../../support/pusher.ts'
import { stopPerformanceNow } from '../../support/stopped-clock.ts'
import { until } from '../../support/until.ts'
import { frame, handshake } from './ws-by-hand.ts'

const hooks: { readonly headers: Record<string, unknown>; readonly body: string }[] = []
const application = createServer((request, response) => {
  let body = ''
  request.on('data', chunk => (body += chunk))
  request.on('end', () => {
    hooks.push({ headers: request.headers, body })
    response.end()
  })
})
application.listen(0, '127.0.0.1')
await once(application, 'listening')
const { port: hooksPort } = application.address() as AddressInfo

const app = { ...APP, webhooks: [{ url: `http://127.0.0.1:${hooksPort}/` }] }
const { node, server, connect, subscribed, disconnect } = await startPusherNode({}, [app])
t.teardown(async () => {
  disconnect()
  await node.close()
  application.close()
})

const events = (received: readonly Message[], name: string) =>
  received.filter(({ event }) => event === name).map(({ data }) => data)
const read = async (channel: string) => {
  const { status, body } = await node.get(`/v1/poll?cursor=earliest&channel=${encodeURIComponent(channel)}`)
  if (status !== 200) throw new Error(`${status} ${body}`)
  return (JSON.parse(body) as { events: { type?: string; data: unknown; tags?: object }[] }).events
}

t.test('an event from either side reaches the other, its data unchanged', async t => {
  const { client, received } = connect()
  await subscribed(client, 'news')
  await server.trigger('news', 'greeting', { message: 'héllo', big: [1, { deep: null }] })
  await node.publish('news', '{"n":1.50,"text":"a\\u0062"}', 'application/json', '?type=plain')
  await node.publish('news', 'just text', 'text/plain')
  await server.trigger('news', 'greeting', 'no JSON')
  await server.trigger('news', 'greeting', '"a string as JSON"')
  await until('all are there', () => received.filter(({ channel }) => channel === 'news').length === 6)
  t.strictSame(received.filter(({ channel }) => channel === 'news').slice(1), [
    { event: 'greeting', channel: 'news', data: { message: 'héllo', big: [1, { deep: null }] } },
    { event: 'plain', channel: 'news', data: { n: 1.5, text: 'ab' } },
    { event: 'message', channel: 'news', data: 'just text' },
    { event: 'greeting', channel: 'news', data: 'no JSON' },
    { event: 'greeting', channel: 'news', data: 'a string as JSON' },
  ])
  t.match(await read('news'), [
    { type: 'greeting', data: { message: 'héllo', big: [1, { deep: null }] } },
    { type: 'plain' },
    { data: 'just text' },
    { type: 'greeting', data: 'no JSON' },
    { type: 'greeting', data: 'a string as JSON' },
  ])
})

t.test('event names that are not types become a tag; reserved names stay reserved', async t => {
  const { client, received } = connect()
  await subscribed(client, 'orders')
  await server.trigger('orders', 'App\\Events\\OrderShipped', {})
  await node.publish('orders', '{}', 'application/json', '?type=pusher:error')
  await until('both are there', () => received.filter(({ channel }) => channel === 'orders').length === 3)
  t.strictSame(
    received.filter(({ channel }) => channel === 'orders').map(({ event }) => event),
    ['pusher_internal:subscription_succeeded', 'App\\Events\\OrderShipped', 'message'],
  )
  t.match(await read('orders'), [{ tags: { 'pusher.event': 'App\\Events\\OrderShipped' } }, {}])
})

t.test('a batch and several channels are published, and the sender can be excluded', async t => {
  const [one, two] = [connect(), connect()]
  for (const { client } of [one, two]) for (const name of ['a', 'b']) await subscribed(client, name)
  const sender = { socket_id: one.client.connection.socket_id }
  await server.trigger(['a', 'b'], 'e', 1, sender)
  await server.triggerBatch([
    { channel: 'a', name: 'e', data: 2 },
    { channel: 'a', name: 'e', data: 3, ...sender },
    { channel: 'a', name: 'e', data: 4 },
  ])
  await until(
    'all are there',
    () => events(two.received, 'e').length === 5 && events(one.received, 'e').length === 2,
  )
  t.strictSame(events(one.received, 'e'), [2, 4])
  t.strictSame(events(two.received, 'e').sort(), [1, 1, 2, 3, 4])
})

t.test('presence reports members, joins and leaves; a user with several clients is one member', async t => {
  const ann = connect('ann')
  const channel = (await subscribed(ann.client, 'presence-room')) as unknown as {
    members: { count: number; me: { id: string; info: object } }
  }
  t.match(channel.members, { count: 1, me: { id: 'ann', info: { name: 'user ann' } } })
  const seven = connect(7)
  await subscribed(seven.client, 'presence-room')
  await until('ann is notified', () => events(ann.received, 'pusher_internal:member_added').length === 1)
  t.strictSame(events(ann.received, 'pusher_internal:member_added'), [
    { user_id: 7, user_info: { name: 'user 7' } },
  ])
  const again = connect(7)
  await subscribed(again.client, 'presence-room')
  t.match(await (await server.get({ path: '/channels/presence-room/users' })).json(), {
    users: [{ id: 7 }, { id: 'ann' }],
  })
  t.match(
    await (
      await server.get({ path: '/channels', params: { info: 'user_count', filter_by_prefix: 'presence-' } })
    ).json(),
    {
      channels: { 'presence-room': { occupied: true, user_count: 2, subscription_count: 3 } },
    },
  )
  again.client.disconnect()
  seven.client.disconnect()
  await until('ann is notified', () => events(ann.received, 'pusher_internal:member_removed').length === 1)
  t.strictSame(events(ann.received, 'pusher_internal:member_removed'), [{ user_id: 7 }])
  t.equal(events(ann.received, 'pusher_internal:member_added').length, 1, 'no member is notified of itself')
})

/** A client that sends raw frames, and the node's end of its connection. */
async function byHand() {
  const connected = once(node.app.server, 'connection')
  const raw = handshake(node, `/app/${APP.key}?protocol=7`)
  const [socket] = (await connected) as [Socket]
  const { 1: socketId = '' } = /"(\d+\.\d+)/.exec(await raw.until(/established.*}/)) ?? []
  const send = (event: string, data: object) =>
    raw.send(frame(0x81, JSON.stringify({ event: `pusher:${event}`, data })))
  return { raw, socket, socketId, send }
}

t.test('after its close frame, a client is neither counted nor a member', async t => {
  const { raw, socket, socketId, send } = await byHand()
  send('subscribe', {
    channel: 'presence-left',
    ...server.authorizeChannel(socketId, 'presence-left', { user_id: 'ann' }),
  })
  await raw.until(/subscription_succeeded/)
  const channel = async () => (await server.get({ path: '/channels/presence-left' })).json()
  t.match(await channel(), { occupied: true, subscription_count: 1, user_count: 1 })
  // The client's leave is stored only once somebody waits for it.
  const { presence } = node.app.fanwire
  const append = node.log.append.bind(node.log)
  const settled = presence.settled.bind(presence)
  let store = () => {}
  const waited = new Promise<void>(resolve => (store = resolve))
  node.log.append = async (...args) => {
    if (args[0] === presenceOf('presence-left')) await waited
    return append(...args)
  }
  presence.settled = name => {
    store()
    return settled(name)
  }
  t.teardown(() => {
    store()
    Object.assign(node.log, { append })
    Object.assign(presence, { settled })
  })
  // The client does not end its TCP connection.
  raw.socket.pause()
  raw.send(frame(0x88, ''))
  let state = { occupied: true, user_count: 1 }
  await until('the client has left', async () => {
    state = (await channel()) as typeof state
    return !state.occupied
  })
  t.equal(state.user_count, 0, 'both counts are from the same moment')
  t.notOk(socket.destroyed)
  raw.close()
})

t.test('client events reach the others, with their sender, and at most 10 at once', async t => {
  const [ann, ben] = [connect('ann'), connect('ben')]
  await subscribed(ann.client, 'presence-chat')
  const channel = await subscribed(ben.client, 'presence-chat')
  // No time passes, in which more would be allowed.
  stopPerformanceNow(t)
  channel.trigger('client-typing', { on: true })
  await until('ann is notified', () => events(ann.received, 'client-typing').length === 1)
  t.match(
    ann.received.find(({ event }) => event === 'client-typing'),
    { data: { on: true }, user_id: 'ben' },
  )
  for (let n = 0; n < 20; n++) channel.trigger('client-typing', { n })
  const refused = () =>
    ben.received.filter(
      ({ event, data }) => event === 'pusher:error' && (data as { code: number }).code === 4301,
    )
  await until('each is delivered or refused', () => {
    return events(ann.received, 'client-typing').length + refused().length === 21
  })
  t.strictSame(
    events(ann.received, 'client-typing').slice(1),
    Array.from({ length: 9 }, (_, n) => ({ n })),
  )
  t.match(refused()[0], { channel: 'presence-chat', data: { code: 4301, error: 'FW_TOO_MANY_REQUESTS' } })
  t.equal(events(ben.received, 'client-typing').length, 0, 'the sender does not receive its own events')
})

t.test('cache channels start with the last event, or report a miss', async t => {
  const first = connect()
  await subscribed(first.client, 'private-cache-price')
  await until('the miss is reported', () => events(first.received, 'pusher:cache_miss').length === 1)
  await server.trigger('private-cache-price', 'price', 1)
  await server.trigger('private-cache-price', 'price', 2)
  const second = connect()
  await subscribed(second.client, 'private-cache-price')
  await until('it is there', () => events(second.received, 'price').length === 1)
  t.strictSame(events(second.received, 'price'), [2])
  t.equal(events(second.received, 'pusher:cache_miss').length, 0)
})

t.test('users sign in, receive their own events, and are disconnected', async t => {
  const ann = connect('ann')
  ann.client.signin()
  let got: unknown
  ann.client.user.bind('news', (data: unknown) => (got = data))
  await until('signed in', () => events(ann.received, 'pusher:signin_success').length === 1)
  await until('subscribed', () => ann.received.some(({ channel }) => channel === '#server-to-user-ann'))
  await server.sendToUser('ann', 'news', { for: 'ann' })
  await until('it is there', () => got !== undefined)
  t.strictSame(got, { for: 'ann' })
  const ben = connect('ben')
  await until('connected', () => ben.client.connection.state === 'connected')
  ben.client.send_event('pusher:subscribe', { channel: '#server-to-user-ann' })
  await until('refused', () => events(ben.received, 'pusher:subscription_error').length === 1)
  t.match(events(ben.received, 'pusher:subscription_error'), [{ type: 'AuthError', status: 403 }])
  await server.terminateUserConnections('ann')
  await until('gone', () => ann.client.connection.state === 'disconnected')
  t.match(events(ann.received, 'pusher:error'), [{ code: 4009 }])
})

t.test("a user's event between its sign-in and its subscription is not lost", async t => {
  const { raw, socketId, send } = await byHand()
  send('signin', server.authenticateUser(socketId, { id: 'eve' }))
  await raw.until(/signin_success/)
  await server.sendToUser('eve', 'news', { n: 1 })
  send('subscribe', { channel: '#server-to-user-eve' })
  await raw.until(/"news"/)
  await server.sendToUser('eve', 'news', { n: 2 })
  await raw.until(/2}/)
  const order = raw.text.match(/subscription_succeeded|"event":"news".{0,80}?\d}/g)
  t.match(order, ['subscription_succeeded', /1}$/, /2}$/])
  send('unsubscribe', { channel: '#server-to-user-eve' })
  send('subscribe', { channel: '#server-to-user-eve' })
  await raw.until(/succeeded[^]*succeeded/)
  await server.sendToUser('eve', 'news', { n: 3 })
  await raw.until(/3}/)
  t.equal(raw.text.match(/"event":"news"/g)?.length, 3, 'a second subscription begins with new events')
  raw.close()
})

t.test('laravel-echo uses a public, a private and a presence channel', async t => {
  const { client } = connect('ann')
  const echo = new Echo({ broadcaster: 'pusher', client, key: APP.key, cluster: '' } as never) as unknown as {
    channel(name: string): EchoChannel
    private(name: string): EchoChannel
    join(name: string): EchoChannel & { here(callback: (users: unknown[]) => void): unknown }
  }
  const got: unknown[] = []
  let here: unknown[] | undefined
  echo.channel('echo').listen('OrderShipped', (data: unknown) => got.push(data))
  echo.private('echo').listen('.custom', (data: unknown) => got.push(data))
  echo.join('echo').here(users => (here = users))
  await until(
    'all are subscribed',
    () => client.allChannels().every(({ subscribed }) => subscribed) && here !== undefined,
  )
  await server.trigger('echo', 'App\\Events\\OrderShipped', { order: 1 })
  await server.trigger('private-echo', 'custom', { order: 2 })
  await until('both are there', () => got.length === 2)
  t.strictSame(got, [{ order: 1 }, { order: 2 }])
  t.strictSame(here, [{ name: 'user ann' }])
})

t.test('on encrypted channels the node stores data that it cannot read', async t => {
  const { client } = connect()
  const got: unknown[] = []
  const channel = await subscribed(client, 'private-encrypted-x')
  channel.bind('e', (data: unknown) => got.push(data))
  await server.trigger('private-encrypted-x', 'e', { secret: 1 })
  await until('it is there', () => got.length === 1)
  t.strictSame(got, [{ secret: 1 }])
  t.match(await read('private-encrypted-x'), [{ type: 'e', data: { nonce: String, ciphertext: String } }])
})

t.test(
  'over a cut connection a client with the plugin loses nothing, and one without it loses events',
  async t => {
    const [plain, kept] = [connect(), connect()]
    resume(kept.client)
    for (const { client } of [plain, kept]) await subscribed(client, 'private-log')
    await server.trigger('private-log', 'n', 1)
    await until('both have it', () =>
      [plain, kept].every(({ received }) => events(received, 'n').length === 1),
    )
    for (const connection of [...node.hub.connections]) connection.cut()
    // Published before either client can reconnect.
    await node.append('private-log', ...[2, 3, 4].map(n => ({ data: Buffer.from(`${n}`), type: 'n' })))
    await until('both have noticed the cut', () =>
      [plain, kept].every(({ client }) => client.connection.state !== 'connected'),
    )
    await until('both have reconnected', () =>
      [plain, kept].every(({ client }) => client.channel('private-log').subscribed),
    )
    await server.trigger('private-log', 'n', 5)
    await until('both have the last', () =>
      [plain, kept].every(({ received }) => events(received, 'n').includes(5)),
    )
    t.strictSame(events(plain.received, 'n'), [1, 5])
    t.strictSame(events(kept.received, 'n'), [1, 2, 3, 4, 5])
  },
)

t.test('a client with the plugin does not receive its own events after a reconnect', async t => {
  const [sender, other] = [connect(), connect()]
  for (const { client } of [sender, other]) {
    resume(client)
    await subscribed(client, 'private-own')
  }
  sender.client.send_event('client-n', 1, 'private-own')
  await until('the other has it', () => events(other.received, 'client-n').length === 1)
  // Follows the event that the sender does not receive.
  const transient = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '1' }
  const channel = `http://127.0.0.1:${node.port}/v1/channels/private-own`
  t.equal((await fetch(`${channel}/events?type=marker&transient=1`, transient)).status, 202)
  await until('the sender has the marker', () => events(sender.received, 'marker').length === 1)
  for (const connection of [...node.hub.connections]) connection.cut()
  await until('the sender has noticed the cut', () => sender.client.connection.state !== 'connected')
  await until('it has reconnected', () => sender.client.channel('private-own').subscribed)
  await server.trigger('private-own', 'marker', 2)
  await until('it has the second marker', () => events(sender.received, 'marker').includes(2))
  t.strictSame(events(sender.received, 'client-n'), [])
})

t.test("webhooks are signed with the secret, in Pusher's format", async t => {
  const { client } = connect('zoe')
  const channel = await subscribed(client, 'presence-hooked')
  channel.trigger('client-hello', { to: 'all' })
  const webhookEvents = () =>
    hooks
      .flatMap(({ body }) => (JSON.parse(body) as { events: { name: string; channel: string }[] }).events)
      .filter(({ channel }) => channel === 'presence-hooked')
  await until('it is delivered', () => webhookEvents().length === 3)
  client.disconnect()
  await until('the rest is delivered', () => webhookEvents().length === 5)
  t.match(webhookEvents().slice(0, 3).sort(byName), [
    { name: 'channel_occupied' },
    {
      name: 'client_event',
      event: 'client-hello',
      data: { to: 'all' },
      user_id: 'zoe',
      socket_id: /^\d+\.\d+$/,
    },
    { name: 'member_added', user_id: 'zoe' },
  ])
  t.match(webhookEvents().slice(3).sort(byName), [
    { name: 'channel_vacated' },
    { name: 'member_removed', user_id: 'zoe' },
  ])
  const sign = (body: string) => createHmac('sha256', APP.secret).update(body).digest('hex')
  t.ok(hooks.every(({ headers }) => headers['x-pusher-key'] === APP.key))
  t.ok(hooks.every(({ headers, body }) => headers['x-pusher-signature'] === sign(body)))
})

t.test('webhooks without batches have one event in each request', async t => {
  const at = hooks.length
  const webhooks = [
    { url: `http://127.0.0.1:${hooksPort}/`, event_types: ['channel_occupied'], batch: false },
  ]
  const single = await startPusherNode({}, [{ ...APP, webhooks }])
  const { client } = single.connect()
  for (const name of ['private-a', 'private-b', 'private-c']) client.subscribe(name)
  await until('all are delivered', () => hooks.length === at + 3)
  const counts = hooks.slice(at).map(({ body }) => (JSON.parse(body) as { events: object[] }).events.length)
  t.strictSame(counts, [1, 1, 1])
  client.disconnect()
  await single.node.close()
})

interface EchoChannel {
  listen(event: string, callback: (data: unknown) => void): EchoChannel
}

const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1)
