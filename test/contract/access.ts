// Every entry point with every credential, and the expected outcome: the access matrix.

import { createPublicKey } from 'node:crypto'
import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { connect, type IncomingHttpHeaders } from 'node:http2'
import { io } from 'socket.io-client'
import { WebSocket } from 'ws'
import { printPosition } from '../../services/broker/event/position.ts'
import type { Claims } from '../../services/broker/access/tokens.ts'
import { AUDIENCE, caps, type ClosedWorld, COOKIE, ISSUER } from '../support/closed-node.ts'
import { secretKey, segment, signToken, testKey, userClaims } from '../support/tokens.ts'
import type { Node } from './node.ts'

/** The rights that a request needs. `history`: history and subscribe. `event`: history alone. */
export type Need = 'subscribe' | 'history' | 'event' | 'presence' | 'publish' | 'admin'

/** The credentials of a request. */
export interface Shown {
  readonly headers?: Readonly<Record<string, string>>
  readonly query?: Readonly<Record<string, string>>
  /** A client's authentication message, where the wire has one; otherwise the handshake has `headers` and `query`. */
  readonly says?: { readonly token?: string; readonly key?: string }
  readonly channelToken?: string
}

/** The outcome of a request. */
export interface Outcome {
  /** `in` if it was allowed, otherwise the code of the error. */
  readonly result: string
  /** `error` of `WWW-Authenticate`; empty if there is none. */
  readonly challenge?: string
  /** The whole answer, for comparison. */
  readonly answer: string
}

export interface Way {
  readonly name: string
  readonly needs: Need
  /** A request by itself, rather than a message on a connection. */
  readonly http: boolean
  try(node: Node, shown: Shown, channel: string): Promise<Outcome>
}

/** A channel with events, and one that does not exist. */
export const THERE = 'room:1'
export const NOT_THERE = 'room:0'

// Over HTTP -----------------------------------------------------------------------------------------------------

interface Route {
  readonly name: string
  readonly needs: Need
  readonly method?: string
  target(channel: string): string
  readonly type?: string
  body?(channel: string): string
}

const read = (name: string, path: string, needs: Need = 'subscribe', more = ''): Route => ({
  name,
  needs,
  target: channel => `${path}?channel=${channel}${more}`,
})
const entry = (channel: string) => JSON.stringify({ channel, data: 1 })

/** Placeholder for the id of an event in the channel `THERE`. */
const ID = 'an-event'
const ROUTES: readonly Route[] = [
  read('poll, latest', '/v1/poll', 'subscribe', '&cursor=latest'),
  read('poll, earliest', '/v1/poll', 'history'),
  read('poll, a cursor', '/v1/poll', 'history', '&cursor=a-1'),
  read('poll, the last one', '/v1/poll', 'history', '&cursor=last:1'),
  read('long-poll', '/v1/long-poll', 'subscribe', '&wait=1'),
  read('long-poll, earliest', '/v1/long-poll', 'history', '&wait=1&cursor=earliest'),
  read('sse', '/v1/sse'),
  read('sse, a cursor', '/v1/sse', 'history', '&cursor=a-1'),
  read('stream', '/v1/stream'),
  read('stream, earliest', '/v1/stream', 'history', '&cursor=earliest'),
  read('stream, since a time', '/v1/stream', 'history', '&cursor=since:0'),
  read('push', '/v1/push'),
  read('push, earliest', '/v1/push', 'history', '&cursor=earliest'),
  read('refresh', '/v1/refresh'),
  read('refresh, earliest', '/v1/refresh', 'history', '&cursor=earliest'),
  { name: 'state of a channel', needs: 'subscribe', target: channel => `/v1/channels/${channel}` },
  { name: 'event by id', needs: 'event', target: channel => `/v1/channels/${channel}/events/${ID}` },
  {
    name: 'history of a channel',
    needs: 'event',
    target: channel => `/v1/channels/${channel}/events?limit=1`,
  },
  { name: 'members', needs: 'presence', target: channel => `/v1/channels/${channel}/presence` },
  {
    name: 'count of members',
    needs: 'presence',
    target: channel => `/v1/channels/${channel}/presence/count`,
  },
  {
    name: 'joins and leaves',
    needs: 'presence',
    target: channel => `/v1/sse?channel=fanwire:presence:${channel}&cursor=earliest`,
  },
  {
    name: 'publish one',
    needs: 'publish',
    method: 'POST',
    target: channel => `/v1/channels/${channel}/events`,
    type: 'application/json',
    body: () => '1',
  },
  {
    name: 'publish many, JSON',
    needs: 'publish',
    method: 'POST',
    target: () => '/v1/events',
    type: 'application/json',
    body: channel => `{"events":[${entry(channel)}]}`,
  },
  {
    name: 'publish many, NDJSON',
    needs: 'publish',
    method: 'POST',
    target: () => '/v1/events',
    type: 'application/x-ndjson',
    body: entry,
  },
  {
    name: 'Mercure, subscribe',
    needs: 'subscribe',
    target: channel => `/.well-known/mercure?match=${channel}`,
  },
  {
    name: 'Mercure, earliest',
    needs: 'history',
    target: channel => `/.well-known/mercure?topic=${channel}&lastEventID=earliest`,
  },
  {
    name: 'Mercure, publish',
    needs: 'publish',
    method: 'POST',
    target: () => '/.well-known/mercure',
    type: 'application/x-www-form-urlencoded',
    body: channel => new URLSearchParams({ topic: channel, data: '1' }).toString(),
  },
  { name: 'metrics', needs: 'admin', target: () => '/metrics' },
  { name: 'lives', needs: 'admin', target: () => '/v1/lives' },
]

interface Asked {
  readonly method: string
  readonly path: string
  readonly headers: Record<string, string>
  readonly body: string | undefined
}

interface Answered {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** Undefined for an accepted request, whose body may never end. */
  readonly body: string | undefined
}

async function asked(
  { method = 'GET', target, type, body }: Route,
  node: Node,
  shown: Shown,
  channel: string,
): Promise<Asked> {
  const { head } = await node.log.state(THERE)
  return {
    method,
    path: withQuery(target(channel).replace(ID, printPosition(head)), shown),
    headers: { ...shown.headers, ...(type === undefined ? {} : { 'content-type': type }) },
    body: body?.(channel),
  }
}

function withQuery(target: string, { query = {}, channelToken }: Shown): string {
  const all = { ...query, ...(channelToken === undefined ? {} : { channel_token: channelToken }) }
  const [path = '', own = ''] = target.split('?')
  const text = [own, new URLSearchParams(all).toString()].filter(Boolean).join('&')
  return text === '' ? path : `${path}?${text}`
}

async function overHttp1({ port }: Node, { method, path, headers, body }: Asked): Promise<Answered> {
  const client = request({ host: '127.0.0.1', port, method, path, headers, agent: false })
  client.end(body)
  const [answer] = (await once(client, 'response')) as [IncomingMessage]
  const { statusCode: status = 0, headers: answered } = answer
  if (status < 300 && headers['content-type'] === undefined) {
    client.destroy()
    return { status, headers: answered, body: undefined }
  }
  return { status, headers: answered, body: await textOf(answer) }
}

async function overHttp2({ h2cPort }: Node, { method, path, headers, body }: Asked): Promise<Answered> {
  const session = connect(`http://127.0.0.1:${h2cPort}`)
  try {
    const stream = session.request({ ':method': method, ':path': path, ...headers })
    stream.end(body)
    const [answered] = (await once(stream, 'response')) as [IncomingHttpHeaders]
    const status = Number(answered[':status'])
    const ends = status >= 300 || headers['content-type'] !== undefined
    return { status, headers: answered, body: ends ? await textOf(stream) : undefined }
  } finally {
    setImmediate(() => session.destroy())
  }
}

async function textOf(stream: AsyncIterable<Buffer>): Promise<string> {
  const pieces: Buffer[] = []
  for await (const piece of stream) pieces.push(piece)
  return Buffer.concat(pieces).toString()
}

function outcomeOf({ status, headers, body }: Answered): Outcome {
  const { date, ...said } = headers
  const answer = `${status} ${JSON.stringify(said)} ${body}`
  const code = /"code":"(\w+)"/.exec(body ?? '')?.[1]
  // A bulk publish is answered with 200, even if its only event is rejected: the error is in the body.
  if (status < 300 && code === undefined) return { result: 'in', answer }
  return { result: code ?? String(status), challenge: challengeOf(status, headers), answer }
}

function challengeOf(status: number, headers: IncomingHttpHeaders): string {
  const text = headers['www-authenticate'] ?? ''
  if (status === 401 && !text.startsWith('Bearer realm="fanwire"')) return `malformed: ${text}`
  return /error="(\w+)"/.exec(text)?.[1] ?? ''
}

const httpWays: readonly Way[] = ROUTES.flatMap(route =>
  ([overHttp1, overHttp2] as const).map((over, i) => ({
    name: `${route.name}, HTTP/${i === 0 ? '1.1' : '2'}`,
    needs: route.needs,
    http: true,
    try: async (node, shown, channel) =>
      outcomeOf(await over(node, await asked(route, node, shown, channel))),
  })),
)

// Over WebSocket ------------------------------------------------------------------------------------------------

/** Connects with the credential. Returns the client after its first message, or the rejection. */
async function shakeHands(node: Node, target: string, shown: Shown): Promise<WebSocket | Outcome> {
  const client = new WebSocket(`ws://127.0.0.1:${node.port}${withQuery(target, shown)}`, {
    headers: { ...shown.headers },
  })
  const refused = new Promise<Outcome>(resolve => {
    client.once('unexpected-response', (_: ClientRequest, answer: IncomingMessage) => {
      const { statusCode: status = 0, headers } = answer
      void textOf(answer).then(body => resolve(outcomeOf({ status, headers, body })))
    })
  })
  const first = once(client, 'message').then(() => client)
  return await Promise.race([first, refused])
}

async function say(client: WebSocket, command: object): Promise<Outcome> {
  client.send(JSON.stringify(command))
  for (;;) {
    const [message] = await once(client, 'message')
    const answer = String(message)
    const { ok, error } = JSON.parse(answer)
    if (ok !== undefined) return { result: 'in', answer: '' }
    if (error !== undefined) return { result: error.code, answer }
  }
}

const wsUrl: Way = {
  name: 'ws, the channel in the URL',
  needs: 'subscribe',
  http: true,
  async try(node, shown, channel) {
    const client = await shakeHands(node, `/v1/ws?channel=${channel}`, shown)
    if (!(client instanceof WebSocket)) return client
    client.terminate()
    return { result: 'in', answer: '' }
  },
}

function wsCommand(name: string, needs: Need, command: (channel: string) => object): Way {
  return {
    name: `ws ${name}`,
    needs,
    http: false,
    async try(node, shown, channel) {
      const { says, channelToken, ...rest } = shown
      const client = await shakeHands(node, '/v1/ws', says === undefined ? rest : {})
      if (!(client instanceof WebSocket)) return client
      try {
        if (says !== undefined) {
          const authenticated = await say(client, { auth: says })
          if (authenticated.result !== 'in') return authenticated
        }
        const token = needs === 'publish' || channelToken === undefined ? {} : { token: channelToken }
        return await say(client, { ...command(channel), ...token })
      } finally {
        client.terminate()
      }
    },
  }
}

// Socket.IO -----------------------------------------------------------------------------------------------------

function emit(
  name: string,
  needs: Need,
  event: string,
  argument: (channel: string) => object,
  transport: 'websocket' | 'polling',
): Way {
  return {
    name: `Socket.IO ${name}, ${transport}`,
    needs,
    http: false,
    async try(node, { headers, query, says, channelToken }, channel) {
      const client = io(`http://127.0.0.1:${node.port}`, {
        transports: [transport],
        forceNew: true,
        reconnection: false,
        ...(says !== undefined ? { auth: says } : { query: { ...query }, extraHeaders: { ...headers } }),
      })
      try {
        const refused = await new Promise<Outcome | undefined>(resolve => {
          client.once('connect', () => resolve(undefined))
          client.once('connect_error', error => resolve(refusalOf(error)))
        })
        if (refused !== undefined) return refused
        const token = needs === 'publish' || channelToken === undefined ? {} : { token: channelToken }
        const { ok, error } = await client.emitWithAck(event, { ...argument(channel), ...token })
        if (ok !== undefined) return { result: 'in', answer: '' }
        return { result: error.code, answer: JSON.stringify(error) }
      } finally {
        client.disconnect()
      }
    },
  }
}

/** Reads the library's packet, or the handshake's response, of which the client reports only the status. */
function refusalOf(error: Error & { data?: { code?: string }; description?: unknown }): Outcome {
  const code = error.data?.code
  if (code !== undefined) return { result: code, answer: error.message }
  const said = String((error.description as { message?: string } | undefined)?.message ?? error.description)
  return { result: `refused ${/\d{3}/.exec(said)?.[0] ?? said}`, answer: said }
}

const publishCommand = (channel: string) => ({ channel, data: 1 })
const emits = (transport: 'websocket' | 'polling') => [
  emit('subscribe', 'subscribe', 'subscribe', channel => ({ channel }), transport),
  emit(
    'subscribe, earliest',
    'history',
    'subscribe',
    channel => ({ channel, cursor: 'earliest' }),
    transport,
  ),
  emit('publish', 'publish', 'publish', publishCommand, transport),
]

export const WAYS: readonly Way[] = [
  ...httpWays,
  wsUrl,
  wsCommand('subscribe', 'subscribe', channel => ({ subscribe: channel })),
  wsCommand('subscribe, earliest', 'history', channel => ({ subscribe: channel, cursor: 'earliest' })),
  wsCommand('subscribe, the last one', 'history', channel => ({ subscribe: channel, cursor: 'last:1' })),
  wsCommand('publish', 'publish', channel => ({ publish: publishCommand(channel) })),
  ...emits('websocket'),
  ...emits('polling'),
]

// Credentials ---------------------------------------------------------------------------------------------------

export type Expected = 'in' | 'missing' | 'invalid' | 'lacking' | 'origin' | 'parameter'

/** An error's code, and its `WWW-Authenticate` challenge over HTTP. */
export const REFUSALS: Readonly<Record<Exclude<Expected, 'in'>, readonly [code: string, challenge: string]>> =
  {
    missing: ['FW_UNAUTHORIZED', ''],
    invalid: ['FW_UNAUTHORIZED', 'invalid_token'],
    lacking: ['FW_FORBIDDEN', 'insufficient_scope'],
    origin: ['FW_FORBIDDEN_ORIGIN', ''],
    parameter: ['FW_BAD_PARAMETER', ''],
  }

export interface Credential {
  readonly name: string
  /** Called for each request, because a ticket is valid once. */
  show(world: ClosedWorld, node: Node): Shown | Promise<Shown>
  /** The outcome, by the required right. */
  readonly expected: Expected | ((need: Need) => Expected)
}

const bearer = (token: string): Shown => ({
  headers: { authorization: `Bearer ${token}` },
  says: { token },
})
const withKey = (key: string): Shown => ({ headers: { authorization: `Bearer ${key}` }, says: { key } })
const only =
  (...rights: Need[]) =>
  (need: Need): Expected =>
    rights.includes(need) ? 'in' : 'lacking'
const NO_ADMIN = only('subscribe', 'history', 'event', 'presence', 'publish')
const TICKET = only('subscribe', 'history', 'event', 'publish')

const refused = (name: string, token: (world: ClosedWorld) => string): Credential => ({
  name,
  show: world => bearer(token(world)),
  expected: 'invalid',
})
const bound = (world: ClosedWorld, more: Record<string, unknown>) =>
  world.token({ iss: ISSUER, aud: AUDIENCE, ...more }, world.es)
const now = () => Math.floor(Date.now() / 1000)
const ROOM = 'room:*'

async function ticket({ app }: Node, claims: Record<string, unknown>): Promise<string> {
  return (await app.fanwire.tickets.issue(claims as Claims)).ticket
}

const fromPage = (world: ClosedWorld, headers: Record<string, string>): Shown => ({
  headers: { cookie: `other=1; ${COOKIE}=${world.token()}`, ...headers },
})

const roomCaps = (...allow: string[]) => ({ caps: caps(ROOM, ...allow) })

export const CREDENTIALS: readonly Credential[] = [
  { name: 'nothing', show: () => ({}), expected: 'missing' },
  refused('an expired token', world => world.token({ exp: now() - 11 })),
  refused('a token that is not valid yet', world => world.token({ nbf: now() + 60 })),
  refused('a token of another key with the same kid', world =>
    world.token({}, testKey('HS256', world.hs.kid)),
  ),
  refused('a token of another audience', world => bound(world, { aud: 'others' })),
  refused('a token without an audience', world => bound(world, { aud: undefined })),
  refused('a token of another issuer', world => bound(world, { iss: 'https://others.example' })),
  refused(
    'alg none',
    () => `${segment({ typ: 'JWT', alg: 'none' })}.${segment(userClaims('ann', roomCaps('sub')))}.`,
  ),
  refused('alg none, signed', world =>
    signToken(world.hs, userClaims('ann', roomCaps('sub')), { alg: 'none' }),
  ),
  refused('the RSA key as a secret', world => {
    const pem = createPublicKey({ key: world.rs.jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' })
    return world.token({}, secretKey('HS256', world.rs.kid, {}, String(pem)))
  }),
  refused('an unknown kid', world => world.token({}, testKey('HS256', 'unknown'))),
  refused('a kid that is a path', world =>
    signToken(world.hs, userClaims('ann', roomCaps('sub')), { kid: '../../dev/null' }),
  ),
  refused('an embedded key', () => {
    const { jwk, sign } = testKey('ES256', 'mine')
    return signToken({ kid: 'mine', alg: 'ES256', jwk, sign }, userClaims('ann', roomCaps('sub')), { jwk })
  }),
  refused('text that is not a token', () => 'no.token.atall'),
  {
    name: 'a token for another channel',
    show: world => bearer(world.token({ caps: caps('other:*', 'sub', 'pub', 'hst') })),
    expected: 'lacking',
  },
  {
    name: 'a token without grants',
    show: world => bearer(world.token({ caps: undefined })),
    expected: 'lacking',
  },
  {
    name: 'a token with sub',
    show: world => bearer(world.token(roomCaps('sub'))),
    expected: only('subscribe'),
  },
  { name: 'a token with hst', show: world => bearer(world.token(roomCaps('hst'))), expected: only('event') },
  {
    name: 'a token with prs',
    show: world => bearer(world.token(roomCaps('prs'))),
    expected: only('presence'),
  },
  {
    name: 'a token with pub',
    show: world => bearer(world.token(roomCaps('pub'))),
    expected: only('publish'),
  },
  { name: 'a token with sub, hst, pub', show: world => bearer(world.token()), expected: NO_ADMIN },
  {
    name: 'the same, bound to issuer and audience',
    show: world => bearer(bound(world, {})),
    expected: NO_ADMIN,
  },
  {
    name: 'a channel token as a connection’s',
    show: world => bearer(world.token({ caps: undefined, channel: ['room:1', 'room:0'] })),
    expected: 'invalid',
  },
  {
    name: 'a channel token beside its user’s',
    show: world => ({
      ...bearer(world.token({ caps: undefined })),
      channelToken: world.token({ caps: undefined, channel: ['room:1', 'room:0'] }),
    }),
    expected: only('subscribe'),
  },
  {
    name: 'a ticket',
    show: async (_, node) => ({
      query: { ticket: await ticket(node, userClaims('ann', roomCaps('sub', 'hst', 'pub'))) },
    }),
    expected: TICKET,
  },
  {
    name: 'a used ticket',
    show: async (_, node) => {
      const used = await ticket(node, userClaims('ann', roomCaps('sub', 'hst', 'pub')))
      await node.app.fanwire.tickets.take(used)
      return { query: { ticket: used } }
    },
    expected: 'invalid',
  },
  {
    name: 'a ticket whose token has expired',
    show: async (_, node) => ({
      query: { ticket: await ticket(node, userClaims('ann', { ...roomCaps('sub'), exp: now() - 1 })) },
    }),
    expected: 'invalid',
  },
  {
    name: 'a made-up ticket',
    show: () => ({ query: { ticket: `0.a-1.${'A'.repeat(43)}` } }),
    expected: 'invalid',
  },
  {
    name: 'a cookie and a foreign page',
    show: world => fromPage(world, { origin: 'https://evil.example' }),
    expected: 'origin',
  },
  { name: 'a cookie and no page', show: world => fromPage(world, {}), expected: 'origin' },
  {
    name: 'a cookie and a page of the node',
    show: (world, { port }) => fromPage(world, { origin: `http://127.0.0.1:${port}` }),
    expected: NO_ADMIN,
  },
  { name: 'a token in the URL', show: world => ({ query: { token: world.token() } }), expected: 'parameter' },
  { name: 'a key that does not exist', show: () => withKey('fw_made-up'), expected: 'invalid' },
  { name: 'an expired key', show: ({ keys }) => withKey(keys.expired.key), expected: 'invalid' },
  { name: 'a key for another channel', show: ({ keys }) => withKey(keys.elsewhere.key), expected: 'lacking' },
  {
    name: 'a key with subscribe',
    show: ({ keys }) => withKey(keys.readers.key),
    expected: only('subscribe'),
  },
  { name: 'a key with publish', show: ({ keys }) => withKey(keys.writers.key), expected: only('publish') },
  { name: 'a key with all rights', show: ({ keys }) => withKey(keys.all.key), expected: 'in' },
]

/** Invalid channel tokens, sent beside a valid token. Only wires that read channel tokens reject them. */
export const BAD_CHANNEL_TOKENS: Readonly<Record<string, (world: ClosedWorld) => string>> = {
  'of another user': world => world.token({ sub: 'bob', caps: undefined, channel: ['room:1', 'room:0'] }),
  'a connection’s': world => world.token(),
  expired: world => world.token({ caps: undefined, channel: ['room:1', 'room:0'], exp: now() - 11 }),
  'of another key': world =>
    world.token({ caps: undefined, channel: 'room:1' }, testKey('HS256', world.hs.kid)),
}

export function expectedOf({ expected }: Credential, { needs }: Way): Expected {
  return typeof expected === 'function' ? expected(needs) : expected
}
