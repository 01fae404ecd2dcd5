// The inputs for a node: tokens, headers, URLs, bodies, WebSocket frames, Socket.IO packets, and messages of clients
// and servers of other systems.

import { createHmac, hash } from 'node:crypto'
import { type ClosedWorld, RULES } from '../support/closed-node.ts'
import type { Random } from '../support/random.ts'
import { segment, signToken, userClaims } from '../support/tokens.ts'
import { anyJson, damaged } from './mutate.ts'

/** Bytes of a whole request, or a text for a connection. */
export type Input =
  | { readonly kind: RequestKind; readonly request: Buffer }
  | { readonly kind: MessageKind; readonly message: string | Buffer }
  | { readonly kind: 'rules'; readonly text: string }

type RequestKind = 'token' | 'header' | 'url' | 'body' | 'durable streams' | 'mercure' | 'pusher api'
export type MessageKind = 'ws' | 'socket.io' | 'centrifuge' | 'protobuf' | 'pusher'

/** Part of every secret, so that a leaked secret can be found. */
export const MARK = 's3cr3tM4rk'

const PATHS = [
  '/v1/poll?channel=room:1&cursor=latest',
  '/v1/poll?channel=open:1&channel=room:2&limit=3',
  '/v1/long-poll?channel=open:1&cursor=earliest&wait=1',
  '/v1/sse?channel=room:1',
  '/v1/stream?channel=open:1&cursor=a-1',
  '/v1/push?channel=open:1',
  '/v1/refresh?channel=open:1&every=5',
  '/v1/ws?channel=open:1',
  '/v1/channels/open:1',
  '/v1/channels/room:1/events/a-1',
  '/socket.io/?EIO=4&transport=polling',
  '/connection/sse?cf_connect=%7B%22id%22%3A1%2C%22connect%22%3A%7B%7D%7D',
  '/connection/uni_sse?cf_connect=%7B%22subs%22%3A%7B%22open%3A1%22%3A%7B%7D%7D%7D',
  '/v1/stream/open:1?offset=-1',
  '/v1/stream/open:2?offset=a_0000000000000001&live=long-poll&cursor=1',
  '/v1/stream/room:1?offset=now&live=sse',
  '/app/key?protocol=7&client=js&version=8',
  '/apps/app/channels/open:1?auth_key=key&auth_timestamp=1&auth_version=1.0&auth_signature=a',
  '/.well-known/mercure?topic=open:%7Bid%7D&lastEventID=a-1',
  '/.well-known/mercure?match=open:1&match_urlpattern=%2Fopen%2F:id&last_event_id=earliest',
  '/.well-known/mercure/subscriptions/exact/open:1',
  '/metrics',
  '/readyz?for=publish',
]
const ENTRY = '{"channel":"open:1","data":{"a":[1,"b"]},"type":"note","idempotencyKey":"k","priority":"low"}'
const COMMANDS = [
  '{"ref":1,"subscribe":"open:1","cursor":"earliest"}',
  '{"ref":1,"unsubscribe":"open:1"}',
  `{"ref":"a","publish":${ENTRY}}`,
  `{"ref":1,"auth":{"token":"${MARK}.a.b"}}`,
  `{"ref":1,"auth":{"key":"fw_${MARK}"}}`,
  '{"ref":1,"ping":true}',
]
const PACKETS = [
  '40',
  `40{"token":"${MARK}.a.b"}`,
  '41',
  '3',
  '420["subscribe",{"channel":"open:1"}]',
  '421["unsubscribe",{"channel":"open:1"}]',
  `422["publish",${ENTRY}]`,
  `42["auth",{"token":"${MARK}.a.b"}]`,
  '451-["publish",{"_placeholder":true,"num":0}]',
]
const CENTRIFUGE = [
  '{"id":2,"subscribe":{"channel":"open:1","recover":true,"epoch":"a","offset":1,"flag":2}}',
  '{"id":2,"subscribe":{"channel":"room:1","token":"s3cr3tM4rk.a.b","join_leave":true}}',
  '{"id":2,"subscribe":{"channel":"open:1","tf":{"op":"and","nodes":[{"key":"a","cmp":"eq","val":"b"}]}}}',
  '{"id":2,"unsubscribe":{"channel":"open:1"}}\n{}\n{"id":3,"ping":{}}',
  '{"id":2,"publish":{"channel":"open:1","data":{"a":[1,"b"]}}}',
  '{"id":2,"history":{"channel":"open:1","limit":5,"since":{"epoch":"a","offset":1},"reverse":true}}',
  '{"id":2,"presence":{"channel":"room:1"}}\n{"id":3,"presence_stats":{"channel":"room:1"}}',
  '{"id":2,"refresh":{"token":"s3cr3tM4rk.a.b"}}',
  '{"id":2,"sub_refresh":{"channel":"open:1","token":"s3cr3tM4rk.a.b"}}',
]
/** Commands in Protobuf: subscribe, publish and history of `a`, and a ping. */
const PROTOBUF = [
  Buffer.of(18, 8, 2, 0x2a, 14, 0x0a, 1, 97, 0x18, 1, 0x32, 1, 98, 0x38, 1, 0x70, 2, 0x78, 0),
  Buffer.of(11, 8, 2, 0x3a, 7, 0x0a, 1, 97, 0x12, 2, 123, 125),
  Buffer.of(9, 8, 2, 0x52, 5, 0x0a, 1, 97, 0x38, 5),
  Buffer.of(4, 8, 3, 0x5a, 0),
]
const PUSHER = [
  '{"event":"pusher:ping","data":{}}',
  '{"event":"pusher:subscribe","data":{"channel":"open:1","cursor":"a-1"}}',
  '{"event":"pusher:subscribe","data":{"channel":"cache-1"}}',
  '{"event":"pusher:subscribe","data":{"channel":"private-1","auth":"key:0a1b"}}',
  '{"event":"pusher:subscribe","data":{"channel":"presence-1","auth":"key:0a","channel_data":"{\\"user_id\\":1}"}}',
  '{"event":"pusher:unsubscribe","data":{"channel":"open:1"}}',
  '{"event":"pusher:signin","data":{"auth":"key:0a1b","user_data":"{\\"id\\":\\"1\\"}"}}',
  '{"event":"client-typing","channel":"private-1","data":{"a":[1,"b"]}}',
]
/** Requests to Pusher's API for servers, each with its body. */
const PUSHER_API: readonly (readonly [method: string, path: string, query: string, body: string])[] = [
  ['POST', '/apps/app/events', '', '{"name":"e","channels":["open:1","b"],"data":"{}","socket_id":"1.2"}'],
  ['POST', '/apps/app/batch_events', '', '{"batch":[{"name":"e","channel":"open:1","data":"1"}]}'],
  ['POST', '/apps/app/users/1/terminate_connections', '', '{}'],
  ['GET', '/apps/app/channels', 'filter_by_prefix=presence-&info=user_count', ''],
  ['GET', '/apps/app/channels/presence-1', 'info=user_count,subscription_count', ''],
  ['GET', '/apps/app/channels/presence-1/users', '', ''],
]
/** Paths of streams for writes of Durable Streams, and headers of such writes. */
const STREAMS = ['/v1/stream/open:1', '/v1/stream/open:2', '/v1/stream/room:1', '/v1/stream/__ds/a']
const STREAM_HEADERS = [
  'Stream-TTL: 60',
  'Stream-Expires-At: 2030-01-01T00:00:00Z',
  'Stream-Closed: true',
  'Stream-Seq: 01',
  'Stream-Forked-From: /v1/stream/open:1',
  'Producer-Id: p\r\nProducer-Epoch: 0\r\nProducer-Seq: 0',
  'Producer-Id: p\r\nProducer-Epoch: 1\r\nProducer-Seq: 7',
  'If-Match: "a"',
]
const FORM = 'topic=open:1&topic=https://a/%7Bid%7D&data=%7B%7D&id=urn:a&type=b&retry=1&private=on'
const HEADERS = [
  `Authorization: Bearer ${MARK}`,
  `Authorization: Basic ${MARK}`,
  `Cookie: a=b; fw_token=${MARK}.x.y; c`,
  'Origin: https://evil.example',
  'Last-Event-ID: a-1,b-2',
  'If-None-Match: W/"a", "b"',
  'Accept-Encoding: gzip',
  'Expect: 100-continue',
  'Content-Length: 5',
  'Transfer-Encoding: chunked',
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits',
  'Sec-Fetch-Mode: navigate',
  'Idempotency-Key: k',
  'X-Forwarded-For: 1.2.3.4',
]

export class Inputs {
  readonly #random: Random
  readonly #world: ClosedWorld
  /** Parts of the last few thousand credentials sent. */
  readonly #shown: string[] = []

  constructor(random: Random, world: ClosedWorld) {
    this.#random = random
    this.#world = world
  }

  next(): Input {
    const random = this.#random
    switch (random.below(13)) {
      case 0:
        return { kind: 'token', request: this.#requestWithToken() }
      case 1:
        return { kind: 'header', request: request('GET', random.pick(PATHS), this.#headers()) }
      case 2:
        return {
          kind: 'url',
          request: request('GET', this.#url(), [`Authorization: Bearer ${this.#good()}`]),
        }
      case 3:
        return { kind: 'body', request: this.#post() }
      case 4:
        return { kind: 'ws', message: this.#message(COMMANDS) }
      case 5:
        return { kind: 'socket.io', message: this.#message(PACKETS) }
      case 6:
        return { kind: 'centrifuge', message: this.#message(CENTRIFUGE) }
      case 7:
        return { kind: 'protobuf', message: this.#bytes() }
      case 8:
        return { kind: 'pusher', message: this.#message(PUSHER) }
      case 9:
        return { kind: 'pusher api', request: this.#signedRequest() }
      case 10:
        return { kind: 'durable streams', request: this.#streamRequest() }
      case 11:
        return { kind: 'mercure', request: this.#update() }
      default:
        return { kind: 'rules', text: damaged(random, RULES) }
    }
  }

  /** Whether a line contains a secret. */
  leaks(line: string): boolean {
    if (line.includes(MARK)) return true
    const words = line.match(/[\w-]{40,}/g) ?? []
    return words.some(word => this.#shown.includes(word))
  }

  #remember(credential: string): string {
    this.#shown.push(...credential.split('.').filter(part => part.length >= 40))
    this.#shown.splice(0, this.#shown.length - 3000)
    return credential
  }

  #good(): string {
    const { keys } = this.#world
    return this.#remember(this.#random.oneIn(2) ? this.#world.token({ meta: MARK }) : keys.all.key)
  }

  /** A token with damaged claims, header or encoding; mostly signed, to get past the signature check. */
  #token(): string {
    const random = this.#random
    const { hs, rs, es } = this.#world
    const key = random.oneIn(50) ? random.pick([rs, es]) : hs
    const claims = JSON.stringify(
      userClaims('ann', { caps: [{ channels: ['room:*'], allow: ['sub'] }], meta: MARK }),
    )
    switch (random.below(5)) {
      case 0:
        return signToken(key, damaged(random, claims))
      case 1:
        return signToken(key, { ...JSON.parse(claims), [random.pick(CLAIMS)]: anyJson(random) })
      case 2:
        return signToken(key, claims, {
          [random.pick(['alg', 'kid', 'typ', 'jku', 'crit', 'x'])]: anyJson(random),
        })
      case 3:
        return damaged(random, signToken(key, claims))
      default: {
        const head = damaged(random, JSON.stringify({ alg: key.alg, kid: key.kid, typ: 'JWT' }))
        const input = `${segment(head)}.${segment(claims)}`
        return `${input}.${key.sign(input).toString('base64url')}`
      }
    }
  }

  #requestWithToken(): Buffer {
    const random = this.#random
    const token = oneLine(this.#remember(this.#token()))
    const path = random.pick(PATHS)
    if (random.oneIn(3))
      return request('GET', withSecret(path, 'channel_token', encodeURIComponent(token)), [])
    const header = random.oneIn(4) ? `Cookie: fw_token=${token}` : `Authorization: Bearer ${token}`
    return request('GET', path, [header])
  }

  #headers(): string[] {
    const random = this.#random
    const some = Array.from({ length: 1 + random.below(4) }, () => random.pick(HEADERS))
    return some.map(line => (random.oneIn(2) ? damaged(random, line) : line))
  }

  #url(): string {
    const random = this.#random
    const path = random.pick(PATHS)
    const url = damaged(random, path)
    return random.oneIn(3)
      ? withSecret(url, random.pick(['token', 'ticket', 'channel_token', 'key']), MARK)
      : url
  }

  #post(): Buffer {
    const random = this.#random
    const [path, type, good] = random.pick(POSTS)
    const body = Buffer.from(
      random.oneIn(4) ? JSON.stringify(anyJson(random)) : damaged(random, good),
      'utf8',
    )
    return request('POST', path, [`Authorization: Bearer ${this.#good()}`, `Content-Type: ${type}`], body)
  }

  /** A request, damaged before it is signed to get past the signature check; sometimes also after. */
  #signedRequest(): Buffer {
    const random = this.#random
    const [method, good, parameters, text] = random.pick(PUSHER_API)
    const maybe = (part: string) => (random.oneIn(3) ? oneLine(damaged(random, part)) : part)
    const path = maybe(good)
    const body = Buffer.from(random.oneIn(2) ? text : damaged(random, text))
    const pairs = [
      'auth_key=key',
      `auth_timestamp=${Math.floor(Date.now() / 1000)}`,
      'auth_version=1.0',
      ...(body.length === 0 ? [] : [`body_md5=${hash('md5', body)}`]),
      ...maybe(parameters).split('&').filter(Boolean),
    ]
    const query = pairs.sort().join('&')
    const signature = createHmac('sha256', MARK).update(`${method}\n${path}\n${query}`).digest('hex')
    const target = `${path}?${query}&auth_signature=${this.#remember(signature)}`
    return request(method, maybe(target), ['Content-Type: application/json'], body)
  }

  #streamRequest(): Buffer {
    const random = this.#random
    const method = random.pick(['PUT', 'POST', 'POST', 'DELETE'])
    const some = Array.from({ length: random.below(4) }, () => random.pick(STREAM_HEADERS))
    const headers = [
      `Authorization: Bearer ${this.#good()}`,
      `Content-Type: ${random.oneIn(4) ? random.pick(['text/plain', 'a/b', '/']) : 'application/json'}`,
      ...some.map(line => (random.oneIn(2) ? damaged(random, line) : line)),
    ]
    const body = Buffer.from(random.oneIn(2) ? '[{"a":1},2,"c"]' : damaged(random, '[{"a":1},2,"c"]'))
    return request(method, random.pick(STREAMS), headers, random.oneIn(5) ? undefined : body)
  }

  #update(): Buffer {
    const random = this.#random
    const headers = [
      `Authorization: Bearer ${this.#good()}`,
      `Content-Type: application/x-www-form-urlencoded`,
      ...(random.oneIn(4) ? [damaged(random, 'Idempotency-Key: k')] : []),
    ]
    return request('POST', '/.well-known/mercure', headers, Buffer.from(damaged(random, FORM)))
  }

  #bytes(): Buffer {
    const random = this.#random
    const bytes = Buffer.from(random.pick(PROTOBUF))
    if (random.oneIn(4)) return bytes
    if (random.oneIn(10)) return random.bytes(random.below(40))
    bytes[random.below(bytes.length)] = random.below(256)
    return bytes.subarray(0, random.oneIn(3) ? random.below(bytes.length + 1) : bytes.length)
  }

  #message(known: readonly string[]): string | Buffer {
    const random = this.#random
    if (random.oneIn(20)) return random.bytes(random.below(40))
    const text = random.pick(known)
    const token = random.oneIn(4) ? text.replace(`${MARK}.a.b`, oneLine(this.#remember(this.#token()))) : text
    return random.oneIn(4) ? token : damaged(random, token)
  }
}

/** Adds a secret parameter. The `?` is sometimes missing. */
function withSecret(path: string, name: string, secret: string): string {
  return `${path}${path.includes('?') || path.length % 2 === 0 ? '&' : '?'}${name}=${secret}`
}

const CLAIMS = [
  'sub',
  'exp',
  'nbf',
  'iat',
  'iss',
  'aud',
  'jti',
  'expire_at',
  'info',
  'meta',
  'caps',
  'channel',
  'allow',
  'channels',
  'mercure',
  'authorization_details',
]
const POSTS: readonly (readonly [path: string, type: string, body: string])[] = [
  ['/v1/channels/open:1/events?type=note', 'application/json', '{"a":[1,"b",null]}'],
  ['/v1/channels/room:1/events', 'text/plain', 'hello é'],
  ['/v1/events', 'application/json', `{"events":[${ENTRY},${ENTRY}]}`],
  ['/v1/events', 'application/x-ndjson', `${ENTRY}\n${ENTRY}\n`],
  ['/v1/tickets', 'application/json', '{}'],
  ['/api/publish', 'application/json', '{"channel":"open:1","data":{"a":1},"tags":{"a":"b"}}'],
  ['/api/batch', 'application/json', '{"commands":[{"history":{"channel":"open:1","limit":2}}]}'],
  ['/emulation', 'application/json', '{"session":"a","node":"b","data":"{}"}'],
  ['/connection/http_stream', 'application/json', '{"id":1,"connect":{}}'],
  ['/socket.io/?EIO=4&transport=polling&sid=x', 'text/plain', '40'],
]

function oneLine(text: string): string {
  return Buffer.from(text.replaceAll(/[\r\n\0]/g, '')).toString()
}

function request(method: string, target: string, headers: readonly string[], body?: Buffer): Buffer {
  const lines = [`${method} ${target} HTTP/1.1`, 'Host: 127.0.0.1', ...headers]
  if (body !== undefined) lines.push(`Content-Length: ${body.length}`)
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`), body ?? Buffer.alloc(0)])
}
