// A grant's filter applies on every read path, whatever the reader requests.

import { io } from 'socket.io-client'
import t from 'tap'
import { NdjsonClient, SseClient, WsClient } from '../contract/clients.ts'
import { idOf } from '../contract/wires.ts'
import { startMemoryNode } from '../contract/node.ts'
import { ClosedWorld } from '../support/closed-node.ts'
import { WAIT_LIMIT_MS } from '../support/until.ts'

const SHOP = { key: 'shop', cmp: 'eq', val: '17' }
const CHANNEL = 'room:1'

t.test(
  "the filter of a grant applies on each wire, to single events, and with the reader's own filter",
  async t => {
    const world = new ClosedWorld()
    const node = await startMemoryNode(world.settings)
    t.teardown(() => node.close())
    const token = world.token({ caps: [{ channels: ['room:*'], allow: ['sub', 'hst'], filter: SHOP }] })
    const headers = { authorization: `Bearer ${token}` }
    const of = (shop: string) => ({ tags: new Map([['shop', shop]]) })
    const [other = '', own = ''] = await node.append(CHANNEL, of('1'), of('17'), of('1'), {})
    const target = { channels: [CHANNEL], cursor: 'earliest' }
    const query = `channel=${CHANNEL}&cursor=earliest`

    for (const wire of ['poll', 'long-poll']) {
      const { status, body } = await node.get(`/v1/${wire}?${query}`, headers)
      t.equal(status, 200)
      t.same(
        JSON.parse(body).events.map(({ id }: { id: string }) => id),
        [own],
        wire,
      )
    }
    const page = await node.get(`/v1/refresh?${query}`, headers)
    t.match(page.body, `events/${own}`)
    t.notMatch(page.body, `events/${other}`)
    for (const [id, status] of [
      [own, 200],
      [other, 404],
    ] as const) {
      t.equal((await node.get(`/v1/channels/${CHANNEL}/events/${id}`, headers)).status, status)
    }
    const mine = encodeURIComponent(JSON.stringify({ key: 'shop', cmp: 'ex' }))
    const asked = await node.get(`/v1/poll?${query}&filter=${mine}`, headers)
    t.equal(JSON.parse(asked.body).events.length, 1, 'both filters hold')

    const streams = [
      ['sse', await new SseClient(target).connect(node, 'sse', target, headers)],
      ['stream', await new NdjsonClient(target).connect(node, 'stream', target, headers)],
      ['push', await new NdjsonClient(target).connect(node, 'push', target, headers)],
      ['ws', await new WsClient(node, target, { headers }).connect(target)],
    ] as const
    const client = io(`http://127.0.0.1:${node.port}`, {
      transports: ['websocket'],
      forceNew: true,
      reconnection: false,
      auth: { token },
    })
    t.teardown(() => client.disconnect())
    const received: string[] = []
    client.on('message', ({ id }) => received.push(id))
    await client.timeout(WAIT_LIMIT_MS).emitWithAck('subscribe', { channel: CHANNEL, cursor: 'earliest' })
    const [, live] = await node.append(CHANNEL, of('2'), of('17'))
    for (const [wire, stream] of streams) {
      t.same([idOf(await stream.event()), idOf(await stream.event())], [own, live], wire)
      stream.cut()
    }
    while (received.length < 2) await new Promise(resolve => client.once('message', resolve))
    t.same(received, [own, live])
  },
)

t.test('a token with another filter closes the connection', async t => {
  const world = new ClosedWorld()
  const node = await startMemoryNode(world.settings)
  t.teardown(() => node.close())
  const tokenFor = (val: string) =>
    world.token({ caps: [{ channels: ['room:*'], allow: ['sub'], filter: { ...SHOP, val } }] })
  const target = { channels: [CHANNEL] }
  const headers = { authorization: `Bearer ${tokenFor('17')}` }
  const client = await new WsClient(node, target, { headers }).connect(target)
  t.match(await client.ask({ ref: 1, auth: { token: tokenFor('17') } }), { ok: {} })
  client.send({ ref: 2, auth: { token: tokenFor('18') } })
  t.match(await client.next(), { close: { code: 4403 } })
})
