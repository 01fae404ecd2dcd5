// The table of settings: the source of environment variables, flags, `--help` and the documents' table.

import { readFileSync } from 'node:fs'
import {
  byteRate,
  cookieName,
  duration,
  file,
  folder,
  fsync,
  hostList,
  hostName,
  integer,
  jwksUrl,
  type Kind,
  keys,
  oneOf,
  onOff,
  originList,
  rate,
  redisPrefix,
  redisUrl,
  size,
  textList,
  trustedProxies,
  visible,
} from './kinds.ts'

export type Role = 'all' | 'edge' | 'writer'
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent'

export interface Setting<T> {
  readonly env: string
  readonly flag: string
  readonly group: Group
  readonly kind: Kind<NonNullable<T>>
  /** The default as written; in brackets if it is a description. */
  readonly shown: string
  readonly doc: string
  unset(): T
}

export const GROUPS = ['Process', 'Access', 'History', 'Low priority', 'Limits', 'Times'] as const
type Group = (typeof GROUPS)[number]

const flagOf = (env: string) =>
  env
    .replace(/^FANWIRE_/, '')
    .toLowerCase()
    .replaceAll('_', '-')

interface Described<T> {
  readonly group: Group
  readonly env: string
  readonly kind: Kind<T>
  readonly doc: string
}

function setting<T extends NonNullable<unknown>>(
  of: Described<T> & { readonly default: string },
): Setting<T> {
  const { env, default: written } = of
  const unset = () => {
    const value = of.kind.parse(written)
    if (value === undefined) throw new Error(`the default of ${env} is malformed`)
    return value
  }
  return { ...of, flag: flagOf(env), shown: written, unset }
}

/** A setting whose default can't be written as text: `shown` describes it. */
function optional<T extends NonNullable<unknown>, U>(
  of: Described<T> & { readonly shown: string; unset(): T | U },
): Setting<T | U> {
  const kind = of.kind as Kind<NonNullable<T | U>>
  return { ...of, flag: flagOf(of.env), kind, shown: `(${of.shown})` }
}

export const SETTINGS = {
  host: setting({
    group: 'Process',
    env: 'HOST',
    kind: hostName,
    default: '127.0.0.1',
    doc: 'address to listen on',
  }),
  port: setting({
    group: 'Process',
    env: 'PORT',
    kind: integer(0, 65535),
    default: '8080',
    doc: 'port to listen on; 0: any free one',
  }),
  tlsCert: optional({
    group: 'Process',
    env: 'FANWIRE_TLS_CERT',
    kind: file,
    unset: () => undefined,
    shown: 'no TLS',
    doc: 'certificate chain (PEM): PORT then speaks TLS with HTTP/2 and 1.1; re-read when it changes',
  }),
  tlsKey: optional({
    group: 'Process',
    env: 'FANWIRE_TLS_KEY',
    kind: file,
    unset: () => undefined,
    shown: 'no TLS',
    doc: 'its private key (PEM)',
  }),
  h2cPort: optional({
    group: 'Process',
    env: 'FANWIRE_H2C_PORT',
    kind: integer(0, 65535),
    unset: () => undefined,
    shown: 'none',
    doc: 'additional port on the same HOST, with cleartext HTTP/2 (prior knowledge)',
  }),
  metricsPort: optional({
    group: 'Process',
    env: 'FANWIRE_METRICS_PORT',
    kind: integer(0, 65535),
    unset: () => undefined,
    shown: 'PORT',
    doc: 'additional port on the same HOST for health and /metrics, which PORT then lacks; never TLS',
  }),
  role: setting({
    group: 'Process',
    env: 'ROLE',
    kind: oneOf('all', 'edge', 'writer'),
    default: 'all',
    doc: '`all`; `edge`: no publish routes; `writer`: no wires. Other than `all` needs REDIS_URL',
  }),
  workers: setting({
    group: 'Process',
    env: 'WORKERS',
    kind: integer(1, 1024),
    default: '1',
    doc: 'processes that share the port, each with the limits below; above 1 needs REDIS_URL',
  }),
  redisUrl: optional({
    group: 'Process',
    env: 'REDIS_URL',
    kind: redisUrl,
    unset: () => undefined,
    shown: 'the memory log',
    doc: '`redis://`, `redis+sentinel://` or `redis+cluster://`, `rediss` for TLS: stores the log and shares it',
  }),
  data: optional({
    group: 'Process',
    env: 'FANWIRE_DATA',
    kind: folder,
    unset: () => undefined,
    shown: 'the memory log',
    doc: 'folder in which a node without Redis keeps its log over restarts; for one process at a time',
  }),
  fsync: setting({
    group: 'Process',
    env: 'FANWIRE_FSYNC',
    kind: fsync,
    default: 'always',
    doc: 'when a publish is on disk: `always`: before its response; or this long after it, such as 100ms',
  }),
  redisTlsCa: optional({
    group: 'Process',
    env: 'FANWIRE_REDIS_TLS_CA',
    kind: file,
    unset: () => undefined,
    shown: 'what the system trusts',
    doc: 'CA certificates (PEM) of Redis, for `rediss`; read at the start',
  }),
  redisTlsCert: optional({
    group: 'Process',
    env: 'FANWIRE_REDIS_TLS_CERT',
    kind: file,
    unset: () => undefined,
    shown: 'none',
    doc: 'client certificate (PEM) of the node, for `rediss`; read at the start',
  }),
  redisTlsKey: optional({
    group: 'Process',
    env: 'FANWIRE_REDIS_TLS_KEY',
    kind: file,
    unset: () => undefined,
    shown: 'none',
    doc: 'its private key (PEM)',
  }),
  sentinelUsername: optional({
    group: 'Process',
    env: 'FANWIRE_SENTINEL_USERNAME',
    kind: visible,
    unset: () => undefined,
    shown: 'none',
    doc: 'user name for the Sentinels, for `redis+sentinel`',
  }),
  sentinelPassword: optional({
    group: 'Process',
    env: 'FANWIRE_SENTINEL_PASSWORD',
    kind: { ...visible, secret: true },
    unset: () => undefined,
    shown: 'none',
    doc: 'password for the Sentinels; the password of the servers is in REDIS_URL',
  }),
  redisPrefix: setting({
    group: 'Process',
    env: 'FANWIRE_REDIS_PREFIX',
    kind: redisPrefix,
    default: 'fw',
    doc: 'prefix of every key and pub/sub channel in Redis',
  }),
  logLevel: setting({
    group: 'Process',
    env: 'LOG_LEVEL',
    kind: oneOf<LogLevel>('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'),
    default: 'info',
    doc: 'lowest severity that is logged: trace, debug, info, warn, error, fatal or silent',
  }),
  socketIo: setting({
    group: 'Process',
    env: 'FANWIRE_SOCKET_IO',
    kind: onOff,
    default: '0',
    doc: '1: accepts Socket.IO clients at /socket.io/',
  }),
  durableStreams: setting({
    group: 'Process',
    env: 'FANWIRE_DURABLE_STREAMS',
    kind: onOff,
    default: '0',
    doc: '1: accepts clients of Durable Streams at /v1/stream/{path}',
  }),
  centrifuge: setting({
    group: 'Process',
    env: 'FANWIRE_CENTRIFUGE',
    kind: onOff,
    default: '0',
    doc: '1: accepts clients of Centrifugo at /connection/websocket etc., and its server API at /api/',
  }),
  mercure: setting({
    group: 'Process',
    env: 'FANWIRE_MERCURE',
    kind: onOff,
    default: '0',
    doc: '1: serves a Mercure hub at /.well-known/mercure; set it alike on all nodes, including writers',
  }),
  mercureSubscriptions: setting({
    group: 'Process',
    env: 'FANWIRE_MERCURE_SUBSCRIPTIONS',
    kind: onOff,
    default: '0',
    doc: '1: lists subscriptions at /.well-known/mercure/subscriptions, and publishes their changes',
  }),
  pusherApps: optional({
    group: 'Process',
    env: 'FANWIRE_PUSHER_APPS',
    kind: file,
    unset: () => undefined,
    shown: 'none',
    doc: 'Pusher apps (JSON), with clients at /app/{key}, servers at /apps/{id}; re-read when it changes',
  }),
  directWrites: setting({
    group: 'Process',
    env: 'FANWIRE_DIRECT_WRITES',
    kind: onOff,
    default: '1',
    doc: "0: writes every delivery through Node's stream, also to a plain socket without pending data",
  }),
  otel: setting({
    group: 'Process',
    env: 'FANWIRE_OTEL',
    kind: onOff,
    default: '0',
    doc: '1: sends OpenTelemetry traces of events; its own variables OTEL_… set the destination',
  }),
  docs: optional({
    group: 'Process',
    env: 'FANWIRE_DOCS',
    kind: onOff,
    unset: (): boolean | undefined => undefined,
    shown: '1; on a writer 0',
    doc: '1: serves the API reference at /docs, and OpenAPI at /openapi.json',
  }),
  console: optional({
    group: 'Process',
    env: 'FANWIRE_CONSOLE',
    kind: onOff,
    unset: (): boolean | undefined => undefined,
    shown: '1; on a writer 0',
    doc: '1: serves the console at /console',
  }),
  wsDeflate: setting({
    group: 'Process',
    env: 'FANWIRE_WS_DEFLATE',
    kind: size('0', '1GiB'),
    default: '0',
    doc: 'size from which events are compressed for ws clients that support it, such as 1KiB; 0: never',
  }),
  publishKeys: optional({
    group: 'Access',
    env: 'FANWIRE_PUBLISH_KEY',
    kind: keys,
    unset: () => [],
    shown: 'anybody may publish',
    doc: 'bearer key required for publishing, or several, separated by commas',
  }),
  insecure: setting({
    group: 'Access',
    env: 'FANWIRE_INSECURE',
    kind: onOff,
    default: '0',
    doc: '1: listen beyond loopback although nothing restricts reading or publishing',
  }),
  keysFile: optional({
    group: 'Access',
    env: 'FANWIRE_KEYS_FILE',
    kind: file,
    unset: () => undefined,
    shown: 'none',
    doc: 'API keys of servers (JSON, with hashes; `fanwire key` creates one); re-read when it changes',
  }),
  jwtKeysFile: optional({
    group: 'Access',
    env: 'FANWIRE_JWT_KEYS_FILE',
    kind: file,
    unset: () => undefined,
    shown: 'none',
    doc: 'keys that verify tokens of users (JWKS, RFC 7517); re-read when it changes',
  }),
  jwksUrl: optional({
    group: 'Access',
    env: 'FANWIRE_JWKS_URL',
    kind: jwksUrl,
    unset: () => undefined,
    shown: 'none',
    doc: 'the same from a URL, https or on loopback; cached, and requested again for unknown keys',
  }),
  jwtAudience: optional({
    group: 'Access',
    env: 'FANWIRE_JWT_AUDIENCE',
    kind: textList,
    unset: (): readonly string[] => [],
    shown: 'none',
    doc: 'audiences (`aud`): a token needs one of them, with keys of FANWIRE_JWKS_URL',
  }),
  jwtIssuer: optional({
    group: 'Access',
    env: 'FANWIRE_JWT_ISSUER',
    kind: visible,
    unset: () => undefined,
    shown: 'any',
    doc: 'required issuer (`iss`) of tokens, with keys of FANWIRE_JWKS_URL',
  }),
  tokenCookie: optional({
    group: 'Access',
    env: 'FANWIRE_TOKEN_COOKIE',
    kind: cookieName,
    unset: () => undefined,
    shown: 'none',
    doc: 'cookie that may carry a token, from pages of FANWIRE_ORIGINS only',
  }),
  tokenQuery: setting({
    group: 'Access',
    env: 'FANWIRE_TOKEN_QUERY',
    kind: onOff,
    default: '0',
    doc: '1: accepts tokens as `?token=`, which appear in logs and browser histories',
  }),
  rulesFile: optional({
    group: 'Access',
    env: 'FANWIRE_RULES',
    kind: file,
    unset: () => undefined,
    shown: 'on loopback everybody may do everything; else reading needs a token',
    doc: 'rules of access for channels (YAML or JSON); re-read when it changes and on SIGHUP',
  }),
  origins: optional({
    group: 'Access',
    env: 'FANWIRE_ORIGINS',
    kind: originList,
    unset: () => undefined,
    shown: "on loopback: loopback origins; else: the node's own",
    doc: 'browser origins that may read and open a WebSocket, such as `https://*.example.com`; `*`: all',
  }),
  publishOrigins: optional({
    group: 'Access',
    env: 'FANWIRE_PUBLISH_ORIGINS',
    kind: originList,
    unset: () => undefined,
    shown: 'FANWIRE_ORIGINS, but for `*`',
    doc: 'browser origins that may publish; `*`: all',
  }),
  hosts: optional({
    group: 'Access',
    env: 'FANWIRE_HOSTS',
    kind: hostList,
    unset: () => undefined,
    shown: 'on loopback: none; else: any',
    doc: 'accepted values of `Host`, besides loopback names and those of FANWIRE_ORIGINS; `*`: any',
  }),
  historyEvents: setting({
    group: 'History',
    env: 'FANWIRE_HISTORY_EVENTS',
    kind: integer(1, 1e9),
    default: '10000',
    doc: 'events kept per channel',
  }),
  historyAge: setting({
    group: 'History',
    env: 'FANWIRE_HISTORY_AGE',
    kind: duration('1ms', '3650d'),
    default: '24h',
    doc: 'how long an event is kept',
  }),
  historyBytes: setting({
    group: 'History',
    env: 'FANWIRE_HISTORY_BYTES',
    kind: size('1', '1024GiB'),
    default: '64MiB',
    doc: 'data kept per channel; the newest event stays even if it alone is larger',
  }),
  lowEvents: setting({
    group: 'Low priority',
    env: 'FANWIRE_LOW_EVENTS',
    kind: integer(1, 1e6),
    default: '64',
    doc: 'number of low-priority events of a channel that wakes its readers; 1: each one does',
  }),
  lowBytes: setting({
    group: 'Low priority',
    env: 'FANWIRE_LOW_BYTES',
    kind: size('1', '1GiB'),
    default: '64KiB',
    doc: 'size of low-priority events that wakes them',
  }),
  lowWait: setting({
    group: 'Low priority',
    env: 'FANWIRE_LOW_WAIT',
    kind: duration('0', '1d'),
    default: '1s',
    doc: 'age of the oldest low-priority event at which it wakes them; 0: at once',
  }),
  hooksPrivate: optional({
    group: 'Limits',
    env: 'FANWIRE_HOOKS_PRIVATE',
    kind: hostList,
    unset: () => [],
    shown: 'none',
    doc: 'hosts of hooks that may have private addresses and use http',
  }),
  trustProxy: optional({
    group: 'Limits',
    env: 'FANWIRE_TRUST_PROXY',
    kind: trustedProxies,
    unset: () => undefined,
    shown: "none: the socket's address counts",
    doc: 'proxies (addresses, networks, or their number) whose X-Forwarded-For or Forwarded is trusted',
  }),
  maxBody: setting({
    group: 'Limits',
    env: 'FANWIRE_MAX_BODY',
    kind: size('1', '256MiB'),
    default: '1MiB',
    doc: "maximum size of an event's data",
  }),
  maxChannels: setting({
    group: 'Limits',
    env: 'FANWIRE_MAX_CHANNELS',
    kind: integer(1, 100_000),
    default: '100',
    doc: 'channels on one request or connection; sse with several channels: 32 at most',
  }),
  maxConnections: optional({
    group: 'Limits',
    env: 'FANWIRE_MAX_CONNECTIONS',
    kind: integer(1, 10_000_000),
    unset: () => Math.max(1, Math.floor(openFileLimit() * 0.8)),
    shown: '80 % of the open-file limit',
    doc: 'connections to a process; further ones are rejected with 503',
  }),
  memory: setting({
    group: 'Limits',
    env: 'FANWIRE_MEMORY',
    kind: size('1KiB', '1024GiB'),
    default: '256MiB',
    doc: 'memory for recent events of all channels',
  }),
  maxFollowed: setting({
    group: 'Limits',
    env: 'FANWIRE_MAX_FOLLOWED',
    kind: integer(1, 10_000_000),
    default: '50000',
    doc: 'channels that the node follows at the same time',
  }),
  maxLoopDelay: setting({
    group: 'Limits',
    env: 'FANWIRE_MAX_LOOP_DELAY',
    kind: duration('0', '1h'),
    default: '1s',
    doc: 'lag of the event loop, four times in a row, above which new reads get a 503; 0: never',
  }),
  maxRss: setting({
    group: 'Limits',
    env: 'FANWIRE_MAX_RSS',
    kind: size('0', '1024GiB'),
    default: '0',
    doc: "memory of the process above which new reads get a 503; 0: only near the heap's own limit",
  }),
  addressConnections: setting({
    group: 'Limits',
    env: 'FANWIRE_ADDRESS_CONNECTIONS',
    kind: integer(0, 1e9),
    default: '0',
    doc: 'connections that an address holds; 0: any number',
  }),
  addressSubscriptions: setting({
    group: 'Limits',
    env: 'FANWIRE_ADDRESS_SUBSCRIPTIONS',
    kind: integer(0, 1e9),
    default: '0',
    doc: 'channels that the connections of an address read; 0: any number',
  }),
  addressRequests: setting({
    group: 'Limits',
    env: 'FANWIRE_ADDRESS_REQUESTS',
    kind: rate,
    default: '0',
    doc: 'requests and commands of an address, such as 100/s:200; 0: any number',
  }),
  addressPublishes: setting({
    group: 'Limits',
    env: 'FANWIRE_ADDRESS_PUBLISHES',
    kind: rate,
    default: '0',
    doc: 'events that an address publishes; 0: any number',
  }),
  addressBytes: setting({
    group: 'Limits',
    env: 'FANWIRE_ADDRESS_BYTES',
    kind: byteRate,
    default: '0',
    doc: 'data that an address publishes, such as 1MiB/s:8MiB; 0: any amount',
  }),
  userConnections: setting({
    group: 'Limits',
    env: 'FANWIRE_USER_CONNECTIONS',
    kind: integer(0, 1e9),
    default: '0',
    doc: 'connections that a user holds, over all nodes; 0: any number',
  }),
  userSubscriptions: setting({
    group: 'Limits',
    env: 'FANWIRE_USER_SUBSCRIPTIONS',
    kind: integer(0, 1e9),
    default: '0',
    doc: "channels that a user's connections read, over all nodes; 0: any number",
  }),
  userRequests: setting({
    group: 'Limits',
    env: 'FANWIRE_USER_REQUESTS',
    kind: rate,
    default: '0',
    doc: 'requests and commands of a user, over all nodes; 0: any number',
  }),
  userPublishes: setting({
    group: 'Limits',
    env: 'FANWIRE_USER_PUBLISHES',
    kind: rate,
    default: '0',
    doc: 'events that a user publishes, over all nodes; 0: any number',
  }),
  userBytes: setting({
    group: 'Limits',
    env: 'FANWIRE_USER_BYTES',
    kind: byteRate,
    default: '0',
    doc: 'data that a user publishes, over all nodes; 0: any amount',
  }),
  keyConnections: setting({
    group: 'Limits',
    env: 'FANWIRE_KEY_CONNECTIONS',
    kind: integer(0, 1e9),
    default: '0',
    doc: 'connections that are held with an API key, over all nodes; 0: any number',
  }),
  keySubscriptions: setting({
    group: 'Limits',
    env: 'FANWIRE_KEY_SUBSCRIPTIONS',
    kind: integer(0, 1e9),
    default: '0',
    doc: 'channels that connections with an API key read, over all nodes; 0: any number',
  }),
  keyRequests: setting({
    group: 'Limits',
    env: 'FANWIRE_KEY_REQUESTS',
    kind: rate,
    default: '0',
    doc: 'requests and commands with an API key, over all nodes; 0: any number',
  }),
  keyPublishes: setting({
    group: 'Limits',
    env: 'FANWIRE_KEY_PUBLISHES',
    kind: rate,
    default: '0',
    doc: 'events published with an API key, over all nodes; 0: any number',
  }),
  keyBytes: setting({
    group: 'Limits',
    env: 'FANWIRE_KEY_BYTES',
    kind: byteRate,
    default: '0',
    doc: 'data published with an API key, over all nodes; 0: any amount',
  }),
  connectionRequests: setting({
    group: 'Limits',
    env: 'FANWIRE_CONNECTION_REQUESTS',
    kind: rate,
    default: '0',
    doc: 'commands on one WebSocket or Socket.IO connection; 0: any number',
  }),
  connectionPublishes: setting({
    group: 'Limits',
    env: 'FANWIRE_CONNECTION_PUBLISHES',
    kind: rate,
    default: '0',
    doc: 'events published on one such connection; 0: any number',
  }),
  connectionBytes: setting({
    group: 'Limits',
    env: 'FANWIRE_CONNECTION_BYTES',
    kind: byteRate,
    default: '0',
    doc: 'data published on one such connection; 0: any amount',
  }),
  linger: setting({
    group: 'Times',
    env: 'FANWIRE_LINGER',
    kind: duration('0ms', '1d'),
    default: '10s',
    doc: 'how long a channel is followed after its last reader left',
  }),
  presenceGrace: setting({
    group: 'Times',
    env: 'FANWIRE_PRESENCE_GRACE',
    kind: duration('0ms', '10m'),
    default: '5s',
    doc: 'how long a user stays a member of a channel after the last client left',
  }),
  heartbeat: setting({
    group: 'Times',
    env: 'FANWIRE_HEARTBEAT',
    kind: duration('10ms', '1h'),
    default: '25s',
    doc: 'time between two heartbeats of a connection; keep it below the 60 s of most proxies',
  }),
  stall: setting({
    group: 'Times',
    env: 'FANWIRE_STALL',
    kind: duration('10ms', '1d'),
    default: '30s',
    doc: 'how long a client may accept nothing of a stream or a response before its connection is closed',
  }),
  drain: setting({
    group: 'Times',
    env: 'FANWIRE_DRAIN',
    kind: duration('0ms', '1h'),
    default: '10s',
    doc: 'time over which connections are closed when the node stops',
  }),
  drainNotice: optional({
    group: 'Times',
    env: 'FANWIRE_DRAIN_NOTICE',
    kind: duration('0ms', '1h'),
    unset: () => undefined,
    shown: 'a fifth of FANWIRE_DRAIN, at most 2s; without Redis none',
    doc: 'time before it in which the node is not ready but still listens, so that load balancers notice',
  }),
  maxAge: setting({
    group: 'Times',
    env: 'FANWIRE_MAX_AGE',
    kind: duration('0', '365d'),
    default: '0',
    doc: 'age at which a connection is closed as on a stop, up to a quarter earlier; 0: never',
  }),
  idempotencyWindow: setting({
    group: 'Times',
    env: 'FANWIRE_IDEMPOTENCY_WINDOW',
    kind: duration('10ms', '7d'),
    default: '120s',
    doc: 'how long an idempotency key is remembered',
  }),
  logTimeout: setting({
    group: 'Times',
    env: 'FANWIRE_LOG_TIMEOUT',
    kind: duration('10ms', '1h'),
    default: '5s',
    doc: 'how long Redis may take to respond',
  }),
} as const satisfies Record<string, Setting<unknown>>

export type Name = keyof typeof SETTINGS
export type Values = { [N in Name]: ReturnType<(typeof SETTINGS)[N]['unset']> }

export const NAMES = Object.keys(SETTINGS) as Name[]
export const ALL: readonly Setting<unknown>[] = Object.values(SETTINGS)

/** The soft limit of open files; node raises it to the hard one when it starts. */
function openFileLimit(): number {
  const assumed = 10_240
  try {
    const soft = /^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
    return soft === undefined ? assumed : soft === 'unlimited' ? 1_048_576 : Number(soft)
  } catch {
    return assumed // Not Linux.
  }
}
