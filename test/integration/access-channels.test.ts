// Single channels of a connection end, on the wires whose connections continue with their other channels: an admin
// unsubscribes the user, the channel's rule is removed, or its channel token expires or is revoked.

import { once } from 'node:events'
import { io } from 'socket.io-client'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { type Node, startMemoryNode } from '../contract/node.ts'
import { ClosedWorld, RULES } from '../support/closed-node.ts'
import { stopClock } from '../support/stopped-clock.ts'
import { until } from '../support/until.ts'

interface Member {
  /** Returns the reply: `ok` or `error`. */
  subscribe(command: { channel: string; token?: string; cursor?: string }): Promise<unknown>
  auth(token: string): Promise<unknown>
  readonly events: unknown[]
  /** Messages about channels that ended. */
  readonly taken: unknown[]
  /** Resolves with all messages when the connection ends. */
  readonly ended: Promise<string>
}

type Connect = (t: Test, node: Node, token: string | undefined) => Promise<Member>

const CONNECT: Readonly<Record<string, Connect>> = {
  async ws(t, { port }, token) {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
    const client = new WebSocket(`ws://127.0.0.1:${port}/v1/ws`, { headers })
    t.teardown(() => client.terminate())
    const [events, taken]: unknown[][] = [[], []]
    const answers = new Map<number, (answer: unknown) => void>()
    let refs = 0
    client.on('message', text => {
      const { ref, ...message } = JSON.parse(String(text))
      if (ref !== undefined) answers.get(ref)?.(message)
      else if ('unsubscribed' in message) taken?.push(message.unsubscribed)
      else if ('data' in message) events?.push(message.data)
    })
    const ended = once(client, 'close').then(([code, reason]) => `${code} ${reason}`)
    await once(client, 'message')
    const ask = (command: object) =>
      new Promise<unknown>(resolve => {
        answers.set(++refs, resolve)
        client.send(JSON.stringify({ ref: refs, ...command }))
      })
    return {
      subscribe: ({ channel, ...more }) => ask({ subscribe: channel, ...more }),
      auth: fresh => ask({ auth: { token: fresh } }),
      events: events ?? [],
      taken: taken ?? [],
      ended,
    }
  },
  async 'Socket.IO'(t, { port }, token) {
    const client = io(`http://127.0.0.1:${port}`, {
      transports: ['polling'],
      forceNew: true,
      reconnection: false,
      ...(token === undefined ? {} : { auth: { token } }),
    })
    t.teardown(() => client.disconnect())
    const events: unknown[] = []
    const taken: unknown[] = []
    client.on('message', ({ data }) => events.push(data))
    client.on('fanwire:unsubscribed', each => taken.push(each))
    const closed = new Promise<string>(resolve => client.once('close', each => resolve(JSON.stringify(each))))
    await new Promise(resolve => client.once('connect', () => resolve(undefined)))
    return {
      subscribe: command => client.emitWithAck('subscribe', command),
      auth: fresh => client.emitWithAck('auth', { token: fresh }),
      events,
      taken,
      ended: closed,
    }
  },
}

const seconds = () => Math.floor(Date.now() / 1000)
/** How long a short token is accepted, ms. */
const SHORT_MS = 2000
/** The `exp` of a short token: its leeway of 10 s ends after SHORT_MS. */
const soon = () => seconds() + SHORT_MS / 1000 - 10

function each(
  title: string,
  run: (t: Test, world: ClosedWorld, node: Node, connect: Connect) => Promise<void>,
) {
  for (const [wire, connect] of Object.entries(CONNECT)) {
    t.test(`${title} (${wire})`, async t => {
      const world = new ClosedWorld()
      const node = await startMemoryNode({ ...world.settings, USER_SUBSCRIPTIONS: '3' })
      t.teardown(() => node.close())
      await run(t, world, node, connect)
    })
  }
}

each(
  'an admin revokes one channel, and the connection continues with its others',
  async (t, world, node, connect) => {
    const member = await connect(t, node, world.token())
    for (const channel of ['room:1', 'room:2', 'room:3'])
      t.match(await member.subscribe({ channel }), { ok: { channel } })
    const unsubscribe = async (channel: string) => {
      const headers = { authorization: `Bearer ${world.keys.all.key}`, 'content-type': 'application/json' }
      const url = `http://127.0.0.1:${node.port}/v1/admin/channels/${channel}/unsubscribe`
      t.equal((await fetch(url, { method: 'POST', headers, body: '{"user":"ann"}' })).status, 202)
    }
    const [id = ''] = await node.append('room:1', '1')
    await until('the member has the event', () => member.events.length === 1)
    await unsubscribe('room:1')
    await until('the member is notified', () => member.taken.length === 1)
    t.strictSame(member.taken, [
      { channel: 'room:1', cursor: id, code: 4403, reason: 'unsubscribed from room:1' },
    ])
    t.equal(node.hub.readers('room:1'), 0)
    await node.append('room:1', '2')
    await node.append('room:2', '3')
    await until('the member has events of the others', () => member.events.length === 2)
    t.strictSame(member.events, [1, 3])
    // The ended channel does not count for the limit of three per user.
    t.match(await member.subscribe({ channel: 'room:4' }), { ok: { channel: 'room:4' } })

    await unsubscribe('room:2')
    await unsubscribe('room:4')
    await unsubscribe('room:3')
    t.match(await member.ended, /4403.*unsubscribed from room:3/, 'the connection ends with its last channel')
  },
)

each('when a rule is removed, only its channel ends', async (t, world, node, connect) => {
  const member = await connect(t, node, world.token())
  await member.subscribe({ channel: 'room:1' })
  await member.subscribe({ channel: 'inbox:ann' })
  world.writeRules(RULES.replace('"room:*", subscribe: token', '"room:*", subscribe: nobody'))
  await until('the member is notified', () => member.taken.length === 1)
  t.match(member.taken, [{ channel: 'room:1', code: 4403, reason: 'may not read room:1 any more' }])
  t.match(await member.subscribe({ channel: 'room:1' }), { error: { code: 'FW_FORBIDDEN' } })
  await node.append('inbox:ann', '1')
  await until('the other channel continues', () => member.events.length === 1)
})

each(
  'a channel token expires: only its channel ends, unless a newer token arrived',
  async (t, world, node, connect) => {
    const clock = stopClock(t)
    const member = await connect(t, node, world.token({ caps: undefined }))
    const token = (channel: string, exp: number) => world.token({ caps: undefined, channel, exp })
    t.match(await member.subscribe({ channel: 'inbox:ann' }), { ok: {} })
    for (const channel of ['room:1', 'room:2']) {
      t.match(await member.subscribe({ channel, token: token(channel, soon()) }), { ok: { channel } })
    }
    t.match(await member.subscribe({ channel: 'room:1' }), { error: { code: 'FW_ALREADY_SUBSCRIBED' } })
    const fresh = token('room:1', seconds() + 600)
    t.match(await member.subscribe({ channel: 'room:1', token: fresh, cursor: 'earliest' }), {
      error: { code: 'FW_ALREADY_SUBSCRIBED' },
    })
    const [id = ''] = await node.append('room:1', '1')
    await until('the member has the event', () => member.events.length === 1)
    t.strictSame(await member.subscribe({ channel: 'room:1', token: fresh }), {
      ok: { channel: 'room:1', cursor: id },
    })
    clock.forward(SHORT_MS)
    await until('the member is notified', () => member.taken.length === 1)
    t.match(member.taken, [{ channel: 'room:2', code: 4401, reason: 'token expired' }])
    t.match(
      await member.subscribe({ channel: 'room:2' }),
      { error: { code: 'FW_FORBIDDEN' } },
      'the expired token grants nothing',
    )
    await node.append('room:1', '2')
    await until('the renewed channel continues', () => member.events.length === 2)
  },
)

each(
  'tokens for one channel add up: none takes away the rights of another',
  async (t, world, node, connect) => {
    const clock = stopClock(t)
    const member = await connect(t, node, world.token({ caps: undefined }))
    const token = (claims: object) => world.token({ caps: undefined, channel: 'room:1', ...claims })
    t.match(await member.subscribe({ channel: 'room:1', token: token({}) }), { ok: {} })
    for (const claims of [{ allow: ['hst'] }, { exp: soon() }]) {
      t.match(await member.subscribe({ channel: 'room:1', token: token(claims) }), { ok: {} })
    }
    clock.forward(SHORT_MS)
    await node.append('room:1', '1')
    await until('the channel continues', () => member.events.length === 1)
    t.strictSame(member.taken, [])
  },
)

each('a refreshed connection outlives the tokens of its channels', async (t, world, node, connect) => {
  const clock = stopClock(t)
  const member = await connect(t, node, world.token({ caps: undefined, exp: soon() }))
  const token = world.token({ caps: undefined, channel: 'room:1', exp: seconds() + 600 })
  await member.subscribe({ channel: 'room:1', token })
  t.match(await member.auth(world.token({ caps: undefined })), { ok: { user: 'ann' } })
  await member.subscribe({
    channel: 'room:2',
    token: world.token({ caps: undefined, channel: 'room:2', exp: soon() }),
  })
  clock.forward(SHORT_MS)
  await until('the other channel ends', () => member.taken.length === 1)
  await node.append('room:1', '1')
  await until('the first channel continues', () => member.events.length === 1)
})

each('a client with only channel tokens stays as long as they are valid', async (t, world, node, connect) => {
  const member = await connect(t, node, undefined)
  const token = (channel: string, key = world.hs) =>
    world.token({ sub: undefined, caps: undefined, channel }, key)
  t.match(await member.subscribe({ channel: 'room:1', token: token('room:1') }), { ok: {} })
  t.match(await member.subscribe({ channel: 'room:2', token: token('room:2', world.rs) }), { ok: {} })
  t.match(await member.auth(world.token()), { error: { code: 'FW_FORBIDDEN' } }, 'it cannot become a user')
  world.writeTokenKeys(world.rs)
  await until('the member is notified', () => member.taken.length === 1)
  t.match(member.taken, [{ channel: 'room:1', code: 4401, reason: 'token revoked' }])
  t.match(await member.subscribe({ channel: 'room:1' }), { error: { code: 'FW_FORBIDDEN' } })
  world.writeTokenKeys(world.es)
  t.match(await member.ended, /4401.*token revoked/)
})

t.test('a stream opened with only a channel token ends when its key is removed', async t => {
  const world = new ClosedWorld()
  const node = await startMemoryNode(world.settings)
  t.teardown(() => node.close())
  const token = world.token({ sub: undefined, caps: undefined, channel: 'room:1' })
  const answer = await fetch(`http://127.0.0.1:${node.port}/v1/sse?channel=room:1&channel_token=${token}`)
  t.equal(answer.status, 200)
  world.writeTokenKeys(world.rs)
  let text = ''
  const read = async () => {
    for await (const piece of answer.body ?? []) text += Buffer.from(piece).toString()
  }
  await t.rejects(read(), 'the stream breaks off, so that the client reconnects')
  t.match(text, /4401 token revoked/)
})
