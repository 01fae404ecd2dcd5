// What each wire sends to a client whose access ends: its token, or the application's grant, expired or was revoked, an
// administrator disconnected it, or it may no longer read its channel (docs/protocol.md#when-access-ends).

import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { io } from 'socket.io-client'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { type Node, startMemoryNode } from '../../contract/node.ts'
import { rawClient } from '../../support/centrifuge.ts'
import { ClosedWorld, RULES } from '../../support/closed-node.ts'
import { clientsOf } from '../../support/pusher.ts'
import { stopClock } from '../../support/stopped-clock.ts'
import { until } from '../../support/until.ts'
import { startApplication } from '../hooks/application.ts'

/** Something that a client holds open. `ended` resolves with the last message that the client receives. */
interface Reader {
  readonly ended: Promise<string>
}
type Connect = (t: Test, node: Node, token: string) => Promise<Reader> | Reader

const CHANNEL = 'room:1'
const CHALLENGE = 'Bearer realm="fanwire"'

async function ask({ port }: Node, path: string, token: string): Promise<IncomingMessage> {
  const headers = { authorization: `Bearer ${token}` }
  const client = request({ host: '127.0.0.1', port, path, headers, agent: false }).end()
  client.on('error', () => {})
  const [answer] = await once(client, 'response')
  return answer
}

interface Refused {
  readonly error?: { readonly code: string; readonly message: string }
}

/** The status, the challenge and the error of a response. */
async function answered(node: Node, path: string, token: string): Promise<string> {
  const answer = await ask(node, path, token)
  const { 'www-authenticate': challenge } = answer.headers
  const text = Buffer.concat(await answer.toArray()).toString()
  const { error } = (text === '' ? {} : JSON.parse(text)) as Refused
  return [answer.statusCode, challenge, error && `${error.code} ${error.message}`].filter(Boolean).join(' | ')
}

const held =
  (path: string): Connect =>
  (_t, node, token) => ({ ended: answered(node, path, token) })

/** A body without an end. */
const body =
  (path: string): Connect =>
  async (t, node, token) => {
    const answer = await ask(node, path, token)
    t.equal(answer.statusCode, 200, path)
    answer.setEncoding('utf8')
    let text = ''
    answer.on('data', piece => (text += piece))
    // A body whose client should reconnect breaks off.
    answer.on('error', () => {})
    const closed = new Promise<void>(resolve => answer.once('close', () => resolve()))
    return { ended: closed.then(() => text.trim().split('\n').at(-1) ?? '') }
  }

const CONNECT: Readonly<Record<string, Connect>> = {
  'long-poll': held(`/v1/long-poll?channel=${CHANNEL}&wait=55`),
  sse: body(`/v1/sse?channel=${CHANNEL}`),
  stream: body(`/v1/stream?channel=${CHANNEL}`),
  push: body(`/v1/push?channel=${CHANNEL}`),
  mercure: body(`/.well-known/mercure?match=${CHANNEL}`),
  'durable-streams': held(`/v1/stream/${CHANNEL}?offset=now&live=long-poll`),
  async ws(_t, { port }, token) {
    const headers = { authorization: `Bearer ${token}` }
    const client = new WebSocket(`ws://127.0.0.1:${port}/v1/ws?channel=${CHANNEL}`, { headers })
    const ended = once(client, 'close').then(([code, reason]) => `${code} ${reason}`)
    await once(client, 'open')
    return { ended }
  },
  async 'socket.io'(t, { port }, token) {
    const options = { transports: ['websocket'], auth: { token }, forceNew: true, reconnection: false }
    const client = io(`http://127.0.0.1:${port}`, options)
    t.teardown(() => client.disconnect())
    const ended = new Promise<string>(resolve =>
      client.once('close', ({ code, reason }) => resolve(`${code} ${reason}`)),
    )
    await client.emitWithAck('subscribe', { channel: CHANNEL })
    return { ended }
  },
  async centrifuge(t, node, token) {
    const { ask, end, socket } = await rawClient(node, { token })
    t.teardown(() => socket.terminate())
    await ask(JSON.stringify({ id: 2, subscribe: { channel: CHANNEL } }))
    const pushed = new Promise<string>(resolve => {
      socket.on('message', message => {
        const { push } = JSON.parse(String(message)) as { push?: { unsubscribe?: object } }
        if (push?.unsubscribe) resolve(`unsubscribe ${Object.values(push.unsubscribe).join(' ')}`)
      })
    })
    return { ended: Promise.race([pushed, end.then(({ code, reason }) => `${code} ${reason}`)]) }
  },
  async 'centrifuge, one way'(t, { port }, token) {
    const client = new WebSocket(`ws://127.0.0.1:${port}/connection/uni_websocket`)
    t.teardown(() => client.terminate())
    const ended = once(client, 'close').then(([code, reason]) => `${code} ${reason}`)
    await once(client, 'open')
    client.send(JSON.stringify({ token, subs: { [CHANNEL]: {} } }))
    await once(client, 'message')
    return { ended }
  },
  /** Signs in as the user, because the Pusher wire has no tokens. */
  async pusher(t, { port }) {
    const client = new WebSocket(`ws://127.0.0.1:${port}/app/key?protocol=7`)
    t.teardown(() => client.terminate())
    const ended = once(client, 'close').then(([code, reason]) => `${code} ${reason}`)
    const next = async () => JSON.parse(String((await once(client, 'message'))[0]))
    const { socket_id: id } = JSON.parse((await next()).data)
    const data = clientsOf(port).server.authenticateUser(id, { id: 'ann' })
    client.send(JSON.stringify({ event: 'pusher:signin', data }))
    t.match(await next(), { event: 'pusher:signin_success' })
    return { ended }
  },
}

/** Wires that answer at once. After the end, they answer as every other wire answers its next request. */
const AFTERWARDS = {
  poll: (node: Node, token: string) => answered(node, `/v1/poll?channel=${CHANNEL}`, token),
  refresh: async (node: Node, token: string) => {
    const answer = await ask(node, `/v1/refresh?channel=${CHANNEL}`, token)
    answer.resume()
    return [answer.statusCode, answer.headers['www-authenticate']].filter(Boolean).join(' | ')
  },
}

const invalid = (message: string) => `401 | ${CHALLENGE}, error="invalid_token" | FW_UNAUTHORIZED ${message}`
const close = (code: number, reason: string) => JSON.stringify({ close: { code, reason, retry: 1000 } })

/** The text that each wire sends for a close reason. */
function words(code: number, reason: string, refusal: string): Record<string, string> {
  return {
    'long-poll': refusal,
    sse: `: ${code} ${reason}`,
    stream: close(code, reason),
    push: close(code, reason),
    mercure: `: ${code} ${reason}`,
    'durable-streams': refusal,
    ws: `${code} ${reason}`,
    'socket.io': `${code} ${reason}`,
  }
}

interface Case {
  /** Whether the application decides on the channel, and grants it for `SHORT_MS`. */
  readonly asks?: true
  readonly act: (node: Node, world: ClosedWorld) => unknown
  readonly ends: Readonly<Record<string, string>>
  readonly afterwards: Readonly<Record<keyof typeof AFTERWARDS, string | RegExp>>
}

/** How long the token opens connections, ms. The leeway begins afterwards. */
const SHORT_MS = 2000
const FORBIDDEN = `403 | ${CHALLENGE}, error="insufficient_scope"`

function casesWith(clock: { forward(ms: number): void }): Readonly<Record<string, Case>> {
  return {
    'the token has expired': {
      act: () => clock.forward(SHORT_MS),
      ends: {
        ...words(4401, 'token expired', invalid('token expired')),
        'long-poll': '200',
        'durable-streams': '204',
        centrifuge: '3005 token expired',
      },
      afterwards: { poll: /^401 .*error="invalid_token".*expired/, refresh: /^401 .*error="invalid_token"/ },
    },
    'the token is revoked': {
      act: node => node.app.fanwire.access.revoke('ann', Date.now() + 1000),
      ends: { ...words(4401, 'token revoked', invalid('token revoked')), centrifuge: '3005 token revoked' },
      afterwards: { poll: /^401 .*error="invalid_token".*revoked/, refresh: /^401 .*error="invalid_token"/ },
    },
    "the application's grant has expired": {
      asks: true,
      act: () => clock.forward(SHORT_MS),
      ends: {
        ...words(
          4401,
          'grant expired',
          `401 | ${CHALLENGE} | FW_UNAUTHORIZED grant expired: the credentials are still valid, send the request again`,
        ),
        'long-poll': '200',
        'durable-streams': '204',
        centrifuge: 'unsubscribe 2501 grant expired',
        'centrifuge, one way': '3006 grant expired',
      },
      afterwards: { poll: '200', refresh: '200' },
    },
    'an administrator disconnects the user': {
      async act({ port }, { keys }) {
        const headers = { authorization: `Bearer ${keys.all.key}` }
        const url = `http://127.0.0.1:${port}/v1/admin/users/ann/disconnect`
        await fetch(url, { method: 'POST', headers })
      },
      ends: {
        ...words(
          4401,
          'disconnected',
          `401 | ${CHALLENGE} | FW_UNAUTHORIZED disconnected: the credentials are still valid, send the request again`,
        ),
        centrifuge: '3011 disconnected',
        pusher: '4009 disconnected',
      },
      afterwards: { poll: '200', refresh: '200' },
    },
    'the rules no longer allow the channel': {
      act: (_, world) =>
        world.writeRules(RULES.replace('"room:*", subscribe: token', '"room:*", subscribe: nobody')),
      ends: {
        ...words(
          4403,
          `may not read ${CHANNEL} any more`,
          `${FORBIDDEN} | FW_FORBIDDEN may not read ${CHANNEL} any more`,
        ),
        centrifuge: `unsubscribe 2000 may not read ${CHANNEL} any more`,
      },
      afterwards: { poll: /^403 .*error="insufficient_scope"/, refresh: /^403 .*error="insufficient_scope"/ },
    },
  }
}

for (const name of Object.keys(casesWith({ forward() {} }))) {
  t.test(name, async t => {
    const clock = stopClock(t)
    const { act, asks, ends, afterwards } = casesWith(clock)[name] as Case
    const world = new ClosedWorld()
    const leeway = 10
    const end = () => Math.floor(Date.now() / 1000) + SHORT_MS / 1000 - leeway
    if (asks === true) {
      const application = await startApplication(t)
      application.answer = () => ({ result: { expire_at: end() } })
      const rules = RULES.replace('"room:*", subscribe: token', '"room:*", subscribe: hook')
      world.writeRules(`${rules}hooks: { subscribe: { url: "${application.url}", timeout: 20s } }`)
    }
    const node = await startMemoryNode(world.settings)
    t.teardown(() => node.close())
    const token = world.token(asks === true ? {} : { exp: end() })
    const headers = { authorization: `Bearer ${world.keys.all.key}`, 'content-type': 'application/json' }
    const created = await fetch(`http://127.0.0.1:${node.port}/v1/stream/${CHANNEL}`, {
      method: 'PUT',
      headers,
    })
    t.equal(created.status, 201, 'Durable Streams reads only what was created')
    const readers = await Promise.all(
      Object.keys(ends).map(async wire => ({ wire, reader: await CONNECT[wire]?.(t, node, token) })),
    )
    const { clients } = node.app.fanwire
    await until('all are connected', () => clients.size === readers.length)
    await act(node, world)
    const told = await Promise.all(
      readers.map(async ({ wire, reader }) => [wire, await reader?.ended] as const),
    )
    t.strictSame(Object.fromEntries(told), ends)
    for (const [wire, read] of Object.entries(AFTERWARDS)) {
      t.match(await read(node, token), afterwards[wire as keyof typeof AFTERWARDS], `${wire}, afterwards`)
    }
  })
}
