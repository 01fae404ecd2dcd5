// Webhooks, with a real node and a real application.

import { once } from 'node:events'
import t, { type Test } from 'tap'
import { Webhook } from 'standardwebhooks'
import { WebSocket } from 'ws'
import { HOOKS } from '../../../services/broker/control/channels.ts'
import { draftOf } from '../../../services/broker/control/tail.ts'
import { FileLog } from '../../../services/broker/log/file/log.ts'
import { configOf, type Node, startMemoryNode, startNode } from '../../contract/node.ts'
import { caps, ClosedWorld } from '../../support/closed-node.ts'
import { folder } from '../../support/folder.ts'
import { silent } from '../../support/redis-logs.ts'
import { until } from '../../support/until.ts'
import { eventsOf, type Receiver, startReceiver } from './receiver.ts'

const SECRETS = ['a', 'b'].map(letter => `whsec_${Buffer.from(letter.repeat(32)).toString('base64')}`)

const rules = (url: string, more = '') => `
channels:
  - { match: "room:*", subscribe: token, publish: token, presence: true }
default: { subscribe: token, publish: nobody }
webhooks:
  - url: ${url}
    secrets: [${SECRETS}]
    events: ["*"]
${more}`

interface Status {
  readonly webhooks: readonly {
    readonly id: string
    readonly url: string
    readonly behind: number
    readonly failing?: string
  }[]
}

interface World {
  readonly node: Node
  readonly world: ClosedWorld
  readonly app: Receiver
  come(user: string, channel?: string): WebSocket
  admin(path: string, body?: object): Promise<{ status: number; body: Status }>
}

async function start(t: Test, more = ''): Promise<World> {
  const app = await startReceiver(t)
  const world = new ClosedWorld()
  world.writeRules(rules(app.url, more))
  const node = await startMemoryNode({ ...world.settings, PRESENCE_GRACE: '10ms' })
  t.teardown(() => node.close())
  return {
    node,
    world,
    app,
    come(user, channel = 'room:1') {
      const token = world.token({ sub: user, caps: caps('*', 'sub', 'pub') })
      const headers = { authorization: `Bearer ${token}` }
      return new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws?channel=${channel}`, { headers })
    },
    async admin(path, body) {
      const answer = await fetch(`http://127.0.0.1:${node.port}/v1/admin/webhooks${path}`, {
        method: body === undefined ? 'GET' : 'POST',
        headers: { authorization: `Bearer ${world.keys.all.key}`, 'content-type': 'application/json' },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      })
      return { status: answer.status, body: (await answer.json()) as Status }
    },
  }
}

t.test('the application is notified, signed with each secret', async t => {
  const { app, come } = await start(t)
  const socket = come('ann')
  await until('the connection is reported', () => app.taken.length === 3)
  socket.close()
  await until('the disconnect is reported', () => app.taken.length === 6)
  t.strictSame(
    app.taken.filter(each => !each.startsWith('client')),
    [
      'channel.occupied room:1',
      'presence.joined room:1 ann',
      'presence.left room:1 ann',
      'channel.vacated room:1',
    ],
  )
  t.same(
    app.taken.filter(each => each.startsWith('client')),
    ['client.connected ann', 'client.disconnected ann'],
  )
  for (const { headers, body } of app.messages) {
    for (const secret of SECRETS) {
      t.same(new Webhook(secret).verify(body, headers as Record<string, string>), JSON.parse(body))
    }
    t.throws(() => new Webhook(SECRETS[0] ?? '').verify(`${body} `, headers as Record<string, string>))
  }
  const ids = app.messages.flatMap(eventsOf).map(({ id }) => id)
  t.equal(new Set(ids).size, ids.length)
  t.ok(ids.every(id => /^\d+:[a-z0-9]+-\d+$/.test(id)))
})

t.test('only the requested kinds are sent', async t => {
  const few = await startReceiver(t)
  const { app, come } = await start(
    t,
    `  - { url: "${few.url}", events: ["presence.joined"], channels: ["room:vip:*"] }`,
  )
  const sockets = [come('ann'), come('bob', 'room:vip:1')]
  await until('both have joined', () => app.taken.filter(each => each.startsWith('presence')).length === 2)
  await until('one', () => few.taken.length > 0)
  t.strictSame(few.taken, ['presence.joined room:vip:1 bob'])
  t.notOk('webhook-signature' in (few.messages[0]?.headers ?? {}), 'no signature without a secret')
  for (const socket of sockets) socket.terminate()
})

t.test('two webhooks with one url are sent their own events once, each with its own progress', async t => {
  const { app, come, admin, world, node } = await start(t)
  world.writeRules(
    rules(app.url, `  - { url: "${app.url}", events: ["channel.*"], channels: ["room:*"] }`).replace(
      '["*"]',
      '["presence.*"]',
    ),
  )
  const { access, log } = node.app.fanwire
  await until('the rules are read', () => access.webhooks.length === 2)
  await until('both have begun', async () =>
    (await admin('')).body.webhooks.every(({ behind }) => behind === 0),
  )
  // Each message of a node lets the sender check what it sends.
  const message = draftOf('progress', { node: 'other', hook: 'other', state: { cursor: 'earliest' } })
  for (let i = 0; i < 3; i++) await log.append(HOOKS, [message])
  app.answer = (response, { body }) => response.writeHead(body.includes('presence.joined') ? 503 : 200).end()
  const socket = come('ann')
  t.teardown(() => socket.terminate())
  await until('the second has its event', () => app.taken.length > 0)
  await until('the first has failed', async () => (await admin('')).body.webhooks[0]?.failing === '503')
  const [first, second] = (await admin('')).body.webhooks
  t.not(first?.id, second?.id)
  t.equal(second?.failing, undefined)
  app.answer = response => response.end()
  await until('both have everything', async () =>
    (await admin('')).body.webhooks.every(({ behind }) => behind === 0),
  )
  t.strictSame(app.taken.toSorted(), ['channel.occupied room:1', 'presence.joined room:1 ann'])
})

t.test('a rejected delivery is retried, in order; 429 sets the delay', async t => {
  const { app, come, admin } = await start(t)
  const tries: number[] = []
  app.answer = response => {
    tries.push(performance.now())
    response.statusCode = tries.length === 1 ? 500 : 429
    if (tries.length < 3) response.setHeader('retry-after', '1')
    response.statusCode = tries.length < 3 ? response.statusCode : 200
    response.end()
  }
  const sockets = [come('ann'), come('bob')]
  await until('the failure is shown', async () => {
    const { body } = await admin('')
    return JSON.stringify(body).includes('"failing":"')
  })
  await until('all', () => app.taken.filter(each => each.startsWith('presence')).length === 2)
  t.ok((tries[2] ?? 0) - (tries[1] ?? 0) >= 990, 'the retry follows a second later')
  t.equal(app.messages[0]?.headers['webhook-id'], app.messages[1]?.headers['webhook-id'])
  t.equal(app.messages[0]?.body, app.messages[1]?.body)
  for (const socket of sockets) socket.terminate()
})

t.test('410 stops a webhook, and a replay restarts it from a cursor', async t => {
  const { app, come, admin } = await start(t)
  app.answer = response => {
    response.statusCode = 410
    response.end()
  }
  const socket = come('ann')
  await until('it has stopped', async () => JSON.stringify((await admin('')).body).includes('"stopped"'))
  const tries = app.messages.length
  app.answer = response => response.end()
  const [hook] = (await admin('')).body.webhooks
  t.match(hook, { url: app.url })
  t.ok((hook?.behind ?? 0) > 0)
  t.equal((await admin('/nope/replay', { cursor: 'earliest' })).status, 404)
  t.match(await admin(`/${hook?.id}/replay`, { cursor: 'x' }), {
    status: 400,
    body: { error: { code: 'FW_BAD_CURSOR' } },
  })
  t.equal((await admin(`/${hook?.id}/replay`, { cursor: 'earliest' })).status, 202)
  await until('all', () => app.taken.length === 3)
  t.equal(tries, 1)
  await until('the replay is complete', async () => {
    const [shown] = (await admin('')).body.webhooks
    return shown?.behind === 0
  })
  socket.terminate()
})

t.test('a replay that comes while a request is in flight sends everything again', async t => {
  const { app, come, admin } = await start(t)
  let answer = () => {}
  app.answer = response => (answer = () => response.end())
  const socket = come('ann')
  t.teardown(() => socket.terminate())
  await until('a request is in flight', () => app.messages.length === 1)
  const [hook] = (await admin('')).body.webhooks
  t.equal((await admin(`/${hook?.id}/replay`, { cursor: 'earliest' })).status, 202)
  app.answer = response => response.end()
  answer()
  const first = eventsOf(app.messages[0] as never)[0]
  const again = () => app.messages.slice(1).flatMap(eventsOf)
  await until('the first event was sent again', () => again().some(({ id }) => id === first?.id))
  await until('the replay is complete', async () => {
    const [shown] = (await admin('')).body.webhooks
    return shown?.behind === 0
  })
})

t.test('a change of the rules applies to webhooks', async t => {
  const { app, come, world, node } = await start(t)
  world.writeRules(rules(app.url).replace('"*"', '"channel.occupied"'))
  await until('it is read', () => node.app.fanwire.access.rules.webhooks[0]?.events[0] === 'channel.occupied')
  const socket = come('ann')
  await until('one', () => app.taken.length === 1)
  t.strictSame(app.taken, ['channel.occupied room:1'])
  socket.terminate()
})

t.test('a gap is reported if the log of lives has dropped events', async t => {
  const { app, come, admin } = await start(t)
  const socket = come('ann')
  await until('the connection is reported', () => app.taken.length === 3)
  const [hook] = (await admin('')).body.webhooks
  const lost = Array.from({ length: 16 }, () => 'lost-7').join()
  t.equal((await admin(`/${hook?.id}/replay`, { cursor: lost })).status, 202)
  await until(
    'everything is sent again',
    () => app.taken.filter(each => each === 'presence.joined room:1 ann').length === 2,
  )
  const gaps = app.messages.flatMap(eventsOf).filter(({ type }) => type === 'gap')
  t.match(gaps[0]?.data, { from: /^\d+:lost-7$/, to: /^\d+:\w+-\d+$/ })
  t.ok(
    app.taken.indexOf('gap') < app.taken.lastIndexOf('presence.joined room:1 ann'),
    'the gap is sent before the events after it',
  )
  socket.terminate()
})

t.test(
  'a gap is reported to an application that was away for longer than the retention of the file log',
  async t => {
    const app = await startReceiver(t)
    const world = new ClosedWorld()
    world.writeRules(rules(app.url))
    const place = folder(t)
    const start = () =>
      startNode(
        configOf({ ...world.settings, PRESENCE_GRACE: '10ms' }),
        ({ history, idempotencyWindow }) =>
          new FileLog({
            folder: place,
            fsync: 1000,
            retentionOf: name => (name.startsWith('fanwire:lives:') ? { ...history, events: 3 } : history),
            idempotencyWindow,
            logger: silent,
          }),
      )
    const come = async (node: Node, user: string) => {
      const headers = { authorization: `Bearer ${world.token({ sub: user, caps: caps('*', 'sub') })}` }
      const socket = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws?channel=room:1`, { headers })
      await once(socket, 'message')
      t.teardown(() => socket.terminate())
    }
    const first = await start()
    await come(first, 'ann')
    await until('the join is reported', () => app.taken.includes('presence.joined room:1 ann'))
    app.answer = response => response.writeHead(503).end()
    for (let i = 0; i < 20; i++) await come(first, `user${i}`)
    await until('a delivery was tried', () => app.messages.some(({ body }) => body.includes('user')))
    await first.close()
    const second = await start()
    t.teardown(() => second.close())
    for (let i = 20; i < 30; i++) await come(second, `user${i}`)
    app.answer = response => response.end()
    await until('the last', () => app.taken.includes('presence.joined room:1 user29'))
    const events = app.messages.flatMap(eventsOf)
    const gap = events.find(({ type }) => type === 'gap')
    t.match(gap?.data, { from: /^\d+:\w+-\d+$/, to: /^\d+:\w+-\d+$/ })
    t.ok(
      app.taken.indexOf('gap') < app.taken.indexOf('presence.joined room:1 user29'),
      'the gap is sent before the remaining events',
    )
  },
)
