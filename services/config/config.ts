// Settings: one table, from which come the environment variables, the flags, `--help` and the documents' table. The
// only reader of process.env.

import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { parseArgs } from 'node:util'
import { quote } from '../errors.ts'
import { parseEndpoint } from '../broker/log/redis/url.ts'
import type { Retention } from '../broker/log/log.ts'

export type Role = 'all' | 'edge' | 'writer'
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent'

/** Every setting, checked. Durations are ms, sizes bytes. */
export interface Config {
  readonly host: string
  /** 0: any free one. */
  readonly port: number
  /** PEM files of the certificate chain and its key: both, or neither for no TLS. */
  readonly tlsCert: string | undefined
  readonly tlsKey: string | undefined
  /** One more port, with cleartext HTTP/2; 0: any free one. */
  readonly h2cPort: number | undefined
  /** One more port, with metrics and health, which then are not on `port`; 0: any free one. */
  readonly metricsPort: number | undefined
  readonly role: Role
  readonly workers: number
  /** Undefined: the memory log. May hold a password. */
  readonly redisUrl: string | undefined
  /** PEM files for TLS to Redis: whom to trust, and the node's own certificate and its key. */
  readonly redisTlsCa: string | undefined
  readonly redisTlsCert: string | undefined
  readonly redisTlsKey: string | undefined
  /** How sentinels let the node in. The password is secret. */
  readonly sentinelUsername: string | undefined
  readonly sentinelPassword: string | undefined
  readonly redisPrefix: string
  readonly logLevel: LogLevel
  /** Keys of which publishing needs one; none: anybody may publish. Secret. */
  readonly publishKeys: readonly string[]
  readonly insecure: boolean
  readonly socketIo: boolean
  /** Size from which messages to ws clients are compressed, if they like; 0: none is. */
  readonly wsDeflate: number
  /**
   * Origins of browser pages that may read, each canonical (see `canonicalOrigin`), with `*.` in place of a sub-domain
   * or `*` alone; undefined: those that go with `host`.
   */
  readonly origins: readonly string[] | undefined
  /** The same, of pages that may publish; undefined: `origins`, where that is a list. */
  readonly publishOrigins: readonly string[] | undefined
  /** Names of the node besides loopback names, in lower case, with `*.` in place of a sub-domain or `*` alone. */
  readonly hosts: readonly string[] | undefined
  readonly history: Retention
  /** What low-priority events gather to before they wake readers; one alone does where `age` is 0. */
  readonly low: { readonly events: number; readonly bytes: number; readonly age: number }
  readonly maxBody: number
  readonly maxChannels: number
  readonly maxConnections: number
  readonly memory: number
  readonly maxFollowed: number
  readonly linger: number
  readonly heartbeat: number
  readonly stall: number
  readonly drain: number
  /** Between failing /readyz and closing the listener. */
  readonly drainNotice: number
  /** Of a connection; 0: it may last for ever. */
  readonly maxAge: number
  readonly idempotencyWindow: number
  readonly logTimeout: number
}

/** Settings that can't be used. The message has a line for each of them, and never a secret. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

/** What the command line asks for: a node, or a text to be printed. */
export type Command = { readonly config: Config } | { readonly print: string }

/** A kind of value: how it is written. */
interface Kind<T> {
  /** Stands for the value in `--help`. */
  readonly placeholder: string
  /** Ends the sentence "expected ...". */
  readonly expects: string
  /** Never shown in a message. */
  readonly secret?: true
  /** The flag needs no value. */
  readonly flag?: true
  /** Undefined where `text` is malformed or out of range. */
  parse(text: string): T | undefined
  /** What is wrong with a `text` that `parse` does not take, without what is secret in it. */
  problem?(text: string): string
}

interface Setting<T> {
  readonly env: string
  readonly flag: string
  readonly group: Group
  readonly kind: Kind<NonNullable<T>>
  /** The default, as it would be written; in brackets what no value stands for. */
  readonly shown: string
  readonly doc: string
  unset(): T
}

const GROUPS = ['Process', 'Access', 'History', 'Low priority', 'Limits', 'Times'] as const
type Group = (typeof GROUPS)[number]

const flagOf = (env: string) =>
  env
    .replace(/^FANWIRE_/, '')
    .toLowerCase()
    .replaceAll('_', '-')

function setting<T extends NonNullable<unknown>>(
  group: Group,
  env: string,
  kind: Kind<T>,
  written: string,
  doc: string,
): Setting<T> {
  const unset = () => {
    const value = kind.parse(written)
    if (value === undefined) throw new Error(`the default of ${env} is malformed`)
    return value
  }
  return { env, flag: flagOf(env), group, kind, shown: written, doc, unset }
}

function optional<T extends NonNullable<unknown>, U>(
  group: Group,
  env: string,
  kind: Kind<T>,
  unset: () => T | U,
  shown: string,
  doc: string,
): Setting<T | U> {
  return {
    env,
    flag: flagOf(env),
    group,
    kind: kind as Kind<NonNullable<T | U>>,
    shown: `(${shown})`,
    doc,
    unset,
  }
}

function integer(least: number, most: number): Kind<number> {
  return {
    placeholder: 'N',
    expects:
      most === Number.MAX_SAFE_INTEGER ? `an integer from ${least}` : `an integer from ${least} to ${most}`,
    parse(text) {
      const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
      return value >= least && value <= most ? value : undefined
    },
  }
}

const DURATION = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
const SIZE = { b: 1, kb: 1e3, mb: 1e6, gb: 1e9, kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30 } as const

/** `least` and `most` as they would be written. */
function duration(least: string, most: string): Kind<number> {
  const parse = (text: string) => {
    const match = /^(\d{1,12})(ms|s|m|h|d)$/.exec(text)
    if (match === null) return text === '0' ? 0 : undefined
    return Number(match[1]) * DURATION[match[2] as keyof typeof DURATION]
  }
  return bounded(parse, least, most, 'DURATION', 'a duration such as 250ms, 10s, 5m, 24h or 7d')
}

function size(least: string, most: string): Kind<number> {
  const parse = (text: string) => {
    const match = /^(\d{1,15})([kmg]?i?b)?$/i.exec(text)
    if (match === null) return undefined
    const unit = SIZE[(match[2] ?? 'b').toLowerCase() as keyof typeof SIZE]
    return unit === undefined ? undefined : Number(match[1]) * unit
  }
  return bounded(parse, least, most, 'SIZE', 'a size such as 1048576, 512KiB, 64MiB or 1GB')
}

function bounded(
  parse: (text: string) => number | undefined,
  least: string,
  most: string,
  placeholder: string,
  form: string,
): Kind<number> {
  return {
    placeholder,
    expects: `${form}, from ${least} to ${most}`,
    parse(text) {
      const value = parse(text)
      return value !== undefined && value >= Number(parse(least)) && value <= Number(parse(most))
        ? value
        : undefined
    },
  }
}

function oneOf<T extends string>(...values: T[]): Kind<T> {
  return {
    placeholder: values.join('|'),
    expects: `one of ${values.join(', ')}`,
    parse: text => values.find(value => value === text),
  }
}

const onOff: Kind<boolean> = {
  placeholder: '',
  expects: '1 or 0',
  flag: true,
  parse: text =>
    text === '1' || text === 'true' ? true : text === '0' || text === 'false' ? false : undefined,
}

const file: Kind<string> = {
  placeholder: 'FILE',
  expects: 'the path of a file',
  parse: text => (text.includes('\0') ? undefined : text),
}

const visible: Kind<string> = {
  placeholder: 'TEXT',
  expects: '1 to 512 characters without control characters',
  parse: text => (/^[^\p{Cc}]{1,512}$/u.test(text) ? text : undefined),
}

const hostName: Kind<string> = {
  placeholder: 'HOST',
  expects: 'an IP address or a host name without a port, such as 127.0.0.1, 0.0.0.0, :: or localhost',
  parse(text) {
    const bare = /^\[.*\]$/.test(text) ? text.slice(1, -1) : text
    if (isIP(bare) !== 0) return bare
    return /^(?=.{1,253}$)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?$/.test(text) && !/^[\d.]+$/.test(text)
      ? text
      : undefined
  },
}

const redisUrl: Kind<string> = {
  placeholder: 'URL',
  expects:
    'redis://user:password@host:port/db, redis+sentinel://user:password@host:port,host:port/name/db or ' +
    'redis+cluster://user:password@host:port,host:port, with rediss for TLS and special characters percent-encoded',
  secret: true,
  parse: text => (endpointProblem(text) === '' ? text : undefined),
  problem: endpointProblem,
}

function endpointProblem(url: string): string {
  try {
    parseEndpoint(url)
    return ''
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

const redisPrefix: Kind<string> = {
  placeholder: 'TEXT',
  expects: '1 to 64 of A-Z a-z 0-9 _ . : -',
  parse: text => (/^[A-Za-z0-9_.:-]{1,64}$/.test(text) ? text : undefined),
}

const keys: Kind<readonly string[]> = {
  placeholder: 'KEY,...',
  expects: 'one or more keys of visible ASCII characters, separated by commas',
  secret: true,
  parse(text) {
    const list = text.split(',').map(key => key.trim())
    return list.every(key => /^[\x21-\x7e]{1,512}$/.test(key)) ? list : undefined
  },
}

/**
 * An origin as browsers print it: scheme, host, and the port if it is not the scheme's own. Undefined where `text` is
 * none, as `null` is.
 */
export function canonicalOrigin(text: string): string | undefined {
  if (!/^[a-z][a-z0-9+.-]*:\/\/[^\s/?#@*\\]+$/i.test(text) || !URL.canParse(text)) return undefined
  const { origin, protocol, host } = new URL(text.toLowerCase())
  if (host === '') return undefined
  // The URL standard knows origins of a few schemes only.
  return origin === 'null' ? `${protocol}//${host}` : origin
}

function canonicalPattern(text: string): string | undefined {
  if (!text.includes('://*.')) return canonicalOrigin(text)
  return canonicalOrigin(text.replace('://*.', '://'))?.replace('://', '://*.')
}

const originList: Kind<readonly string[]> = {
  placeholder: 'ORIGIN,...',
  expects:
    '* alone, or origins such as https://app.example.com, https://*.example.com, http://localhost:3000 or ' +
    'capacitor://localhost, separated by commas',
  parse: text => listOf(text, canonicalPattern),
}

const hostList: Kind<readonly string[]> = {
  placeholder: 'HOST,...',
  expects:
    '* alone, or names such as push.example.com, *.example.com or 10.0.0.5, without ports, separated by commas',
  parse: text =>
    listOf(text, name => {
      const [, any = '', host = ''] = /^(\*\.)?(.*)$/.exec(name) ?? []
      const parsed = hostName.parse(host)?.toLowerCase().replace(/\.$/, '')
      return parsed === undefined ? undefined : any + (isIP(parsed) === 6 ? `[${parsed}]` : parsed)
    }),
}

/** `*` alone, or what `parse` makes of each; undefined where one is malformed. */
function listOf(text: string, parse: (each: string) => string | undefined): readonly string[] | undefined {
  const list = text.split(',').map(each => each.trim())
  if (list.length === 1 && list[0] === '*') return list
  const parsed = list.map(parse)
  return parsed.every(each => each !== undefined) ? parsed : undefined
}

const SETTINGS = {
  host: setting('Process', 'HOST', hostName, '127.0.0.1', 'address to listen on'),
  port: setting('Process', 'PORT', integer(0, 65535), '8080', 'port to listen on; 0: any free one'),
  tlsCert: optional(
    'Process',
    'FANWIRE_TLS_CERT',
    file,
    () => undefined,
    'no TLS',
    'certificate chain (PEM): PORT then speaks TLS with HTTP/2 and 1.1; read again when it changes',
  ),
  tlsKey: optional('Process', 'FANWIRE_TLS_KEY', file, () => undefined, 'no TLS', 'its private key (PEM)'),
  h2cPort: optional(
    'Process',
    'FANWIRE_H2C_PORT',
    integer(0, 65535),
    () => undefined,
    'none',
    'one more port of the same HOST, with cleartext HTTP/2 (prior knowledge)',
  ),
  metricsPort: optional(
    'Process',
    'FANWIRE_METRICS_PORT',
    integer(0, 65535),
    () => undefined,
    'PORT',
    'one more port of the same HOST, with /metrics, which then is only there, and health; never TLS',
  ),
  role: setting(
    'Process',
    'ROLE',
    oneOf('all', 'edge', 'writer'),
    'all',
    '`all`; `edge`: no publish routes; `writer`: no wires. Other than `all` needs REDIS_URL',
  ),
  workers: setting(
    'Process',
    'WORKERS',
    integer(1, 1024),
    '1',
    'processes that share the port, each with the limits below; above 1 needs REDIS_URL',
  ),
  redisUrl: optional(
    'Process',
    'REDIS_URL',
    redisUrl,
    () => undefined,
    'the memory log',
    '`redis://`, `redis+sentinel://` or `redis+cluster://`, `rediss` for TLS: keeps the log and shares it',
  ),
  redisTlsCa: optional(
    'Process',
    'FANWIRE_REDIS_TLS_CA',
    file,
    () => undefined,
    'what the system trusts',
    'certificates (PEM) that sign those of Redis, for `rediss`; read at the start',
  ),
  redisTlsCert: optional(
    'Process',
    'FANWIRE_REDIS_TLS_CERT',
    file,
    () => undefined,
    'none',
    'certificate (PEM) that the node shows to Redis, for `rediss`; read at the start',
  ),
  redisTlsKey: optional(
    'Process',
    'FANWIRE_REDIS_TLS_KEY',
    file,
    () => undefined,
    'none',
    'its private key (PEM)',
  ),
  sentinelUsername: optional(
    'Process',
    'FANWIRE_SENTINEL_USERNAME',
    visible,
    () => undefined,
    'none',
    'user as whom Sentinels are asked, for `redis+sentinel`',
  ),
  sentinelPassword: optional(
    'Process',
    'FANWIRE_SENTINEL_PASSWORD',
    { ...visible, secret: true },
    () => undefined,
    'none',
    'password with which Sentinels are asked; that of the servers stands in REDIS_URL',
  ),
  redisPrefix: setting(
    'Process',
    'FANWIRE_REDIS_PREFIX',
    redisPrefix,
    'fw',
    'begins every key and pub/sub channel',
  ),
  logLevel: setting(
    'Process',
    'LOG_LEVEL',
    oneOf<LogLevel>('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'),
    'info',
    'least severe line that is logged: trace, debug, info, warn, error, fatal or silent',
  ),
  socketIo: setting('Process', 'FANWIRE_SOCKET_IO', onOff, '0', '1: takes Socket.IO clients at /socket.io/'),
  wsDeflate: setting(
    'Process',
    'FANWIRE_WS_DEFLATE',
    size('0', '1GiB'),
    '0',
    'size from which events are compressed for ws clients that offer to take it, such as 1KiB; 0: none',
  ),
  publishKeys: optional(
    'Access',
    'FANWIRE_PUBLISH_KEY',
    keys,
    () => [],
    'anybody may publish',
    'bearer key that publishing needs, or several, separated by commas',
  ),
  insecure: setting(
    'Access',
    'FANWIRE_INSECURE',
    onOff,
    '0',
    '1: listen beyond loopback although no publish key is set',
  ),
  origins: optional(
    'Access',
    'FANWIRE_ORIGINS',
    originList,
    () => undefined,
    "on loopback: loopback origins; else: the node's own",
    'browser origins that may read and open a WebSocket, such as `https://*.example.com`; `*`: all',
  ),
  publishOrigins: optional(
    'Access',
    'FANWIRE_PUBLISH_ORIGINS',
    originList,
    () => undefined,
    'FANWIRE_ORIGINS, but for `*`',
    'browser origins that may publish; `*`: all',
  ),
  hosts: optional(
    'Access',
    'FANWIRE_HOSTS',
    hostList,
    () => undefined,
    'on loopback: none; else: any',
    'names, besides loopback ones and those of FANWIRE_ORIGINS, that `Host` may have; `*`: any',
  ),
  historyEvents: setting(
    'History',
    'FANWIRE_HISTORY_EVENTS',
    integer(1, 1e9),
    '10000',
    'events kept per channel',
  ),
  historyAge: setting(
    'History',
    'FANWIRE_HISTORY_AGE',
    duration('1ms', '3650d'),
    '24h',
    'how long an event is kept',
  ),
  historyBytes: setting(
    'History',
    'FANWIRE_HISTORY_BYTES',
    size('1', '1024GiB'),
    '64MiB',
    'data kept per channel; the newest event stays even if it alone is larger',
  ),
  lowEvents: setting(
    'Low priority',
    'FANWIRE_LOW_EVENTS',
    integer(1, 1e6),
    '64',
    'low-priority events of a channel that wake its readers; 1: they wake them like any other',
  ),
  lowBytes: setting(
    'Low priority',
    'FANWIRE_LOW_BYTES',
    size('1', '1GiB'),
    '64KiB',
    'data of low-priority events that wakes them',
  ),
  lowWait: setting(
    'Low priority',
    'FANWIRE_LOW_WAIT',
    duration('0', '1d'),
    '1s',
    'age of the oldest low-priority event at which it wakes them; 0: at once',
  ),
  maxBody: setting('Limits', 'FANWIRE_MAX_BODY', size('1', '256MiB'), '1MiB', "one event's data"),
  maxChannels: setting(
    'Limits',
    'FANWIRE_MAX_CHANNELS',
    integer(1, 100_000),
    '100',
    'channels on one request or connection; sse with several channels: 32 at most',
  ),
  maxConnections: optional(
    'Limits',
    'FANWIRE_MAX_CONNECTIONS',
    integer(1, 10_000_000),
    () => Math.max(1, Math.floor(openFileLimit() * 0.8)),
    '80 % of the open-file limit',
    'connections to a process; further ones are answered 503',
  ),
  memory: setting(
    'Limits',
    'FANWIRE_MEMORY',
    size('1KiB', '1024GiB'),
    '256MiB',
    'recent events held by the node, over all channels',
  ),
  maxFollowed: setting(
    'Limits',
    'FANWIRE_MAX_FOLLOWED',
    integer(1, 10_000_000),
    '50000',
    'channels that the node follows at a time',
  ),
  linger: setting(
    'Times',
    'FANWIRE_LINGER',
    duration('0ms', '1d'),
    '10s',
    'how long a channel is followed after its last reader left',
  ),
  heartbeat: setting(
    'Times',
    'FANWIRE_HEARTBEAT',
    duration('10ms', '1h'),
    '25s',
    'silence after which a stream sends a sign of life; keep it below the 60 s of most proxies',
  ),
  stall: setting(
    'Times',
    'FANWIRE_STALL',
    duration('10ms', '1d'),
    '30s',
    'how long a reader may take nothing before its connection is ended',
  ),
  drain: setting(
    'Times',
    'FANWIRE_DRAIN',
    duration('0ms', '1h'),
    '10s',
    'time over which connections are closed when the node is told to stop',
  ),
  drainNotice: optional(
    'Times',
    'FANWIRE_DRAIN_NOTICE',
    duration('0ms', '1h'),
    () => undefined,
    'a fifth of FANWIRE_DRAIN, at most 2s; with the memory log none',
    'time before that in which the node is not ready but listens, for load balancers to notice',
  ),
  maxAge: setting(
    'Times',
    'FANWIRE_MAX_AGE',
    duration('0', '365d'),
    '0',
    'age at which a connection is closed as on a stop, up to a quarter earlier; 0: never',
  ),
  idempotencyWindow: setting(
    'Times',
    'FANWIRE_IDEMPOTENCY_WINDOW',
    duration('10ms', '7d'),
    '120s',
    'how long an idempotency key is remembered',
  ),
  logTimeout: setting(
    'Times',
    'FANWIRE_LOG_TIMEOUT',
    duration('10ms', '1h'),
    '5s',
    'how long Redis may take to answer',
  ),
} as const satisfies Record<string, Setting<unknown>>

type Name = keyof typeof SETTINGS
type Values = { [N in Name]: ReturnType<(typeof SETTINGS)[N]['unset']> }

const NAMES = Object.keys(SETTINGS) as Name[]
const ALL: readonly Setting<unknown>[] = Object.values(SETTINGS)
const FLAG_HINT = 'see --help'

/**
 * Reads the command line and the environment; flags win. An environment variable that is empty counts as
 * unset. Raises ConfigError, whose message names every setting that is wrong.
 */
export function readConfig(
  args: readonly string[] = process.argv.slice(2),
  env: Readonly<Record<string, string | undefined>> = process.env,
): Command {
  const problems: string[] = []
  const flags = readFlags(args, problems)
  if (flags.has('help')) return { print: help() }
  if (flags.has('version')) return { print: VERSION }

  const known = new Set(ALL.map(each => each.env))
  for (const name of Object.keys(env)) {
    if (name.startsWith('FANWIRE_') && !known.has(name))
      problems.push(`${name} is not a setting; ${FLAG_HINT}`)
  }
  const values: Partial<Record<Name, unknown>> = {}
  for (const name of NAMES) {
    const { env: variable, flag, kind, unset } = SETTINGS[name] as Setting<unknown>
    const fromFlag = flags.get(flag)
    const text = fromFlag ?? (env[variable] === '' ? undefined : env[variable])
    const value = text === undefined ? unset() : kind.parse(text)
    if (text !== undefined && value === undefined) {
      const label = fromFlag === undefined ? variable : `--${flag}`
      const why = kind.problem ? `: ${kind.problem(text)}` : ''
      problems.push(`${label} is ${kind.secret ? 'malformed' : quote(text)}${why}; expected ${kind.expects}`)
    }
    values[name] = value
  }
  if (problems.length === 0) problems.push(...contradictions(values as Values))
  if (problems.length > 0) throw new ConfigError(problems.join('\n'))
  const { historyEvents, historyAge, historyBytes, lowEvents, lowBytes, lowWait, drainNotice, ...rest } =
    values as Values
  const history = { events: historyEvents, age: historyAge, bytes: historyBytes }
  const low = { events: lowEvents, bytes: lowBytes, age: lowWait }
  return { config: { ...rest, history, low, drainNotice: drainNotice ?? noticeFor(rest) } }
}

/** Long enough for two checks a second; where there is one node alone, nobody has anywhere else to go. */
function noticeFor({ redisUrl, drain }: Pick<Values, 'redisUrl' | 'drain'>): number {
  return redisUrl === undefined ? 0 : Math.min(2000, drain / 5)
}

/** Flags by name, without dashes. */
function readFlags(args: readonly string[], problems: string[]): Map<string, string> {
  const found = new Map<string, string>()
  const plain = new Map(ALL.map(({ flag, kind }) => [flag, kind.flag === true]))
  const options: Record<string, { type: 'string' | 'boolean'; short?: string }> = {
    help: { type: 'boolean', short: 'h' },
    version: { type: 'boolean', short: 'v' },
  }
  for (const [flag, bare] of plain) options[flag] = { type: bare ? 'boolean' : 'string' }
  const { tokens } = parseArgs({
    args: [...args],
    options,
    strict: false,
    allowPositionals: true,
    tokens: true,
  })
  for (const token of tokens) {
    if (token.kind === 'positional') problems.push(`${quote(token.value)} is not expected; ${FLAG_HINT}`)
    if (token.kind !== 'option') continue
    const { name, rawName, value, inlineValue } = token
    if (options[name] === undefined) problems.push(`${quote(rawName)} is not a flag; ${FLAG_HINT}`)
    else if (found.has(name)) problems.push(`--${name} is given twice`)
    else if (value === undefined && options[name].type === 'string') problems.push(`--${name} needs a value`)
    else if (value?.startsWith('-') && !inlineValue) problems.push(`--${name} needs a value`)
    else found.set(name, value ?? '1')
  }
  return found
}

/** What is wrong with settings that are each well-formed. */
function contradictions(values: Values): string[] {
  const found: string[] = []
  const { redisUrl: url, role, workers, host, publishKeys, insecure } = values
  const { port, tlsCert, tlsKey, h2cPort, metricsPort } = values
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    const [set, missing] = tlsKey === undefined ? ['CERT', 'KEY'] : ['KEY', 'CERT']
    found.push(`FANWIRE_TLS_${set} is set and FANWIRE_TLS_${missing} is not: TLS needs both`)
  }
  const { redisTlsCa, redisTlsCert, redisTlsKey, sentinelUsername, sentinelPassword } = values
  if ((redisTlsCert === undefined) !== (redisTlsKey === undefined)) {
    const [set, missing] = redisTlsKey === undefined ? ['CERT', 'KEY'] : ['KEY', 'CERT']
    found.push(`FANWIRE_REDIS_TLS_${set} is set and FANWIRE_REDIS_TLS_${missing} is not: they go together`)
  }
  if ((redisTlsCa ?? redisTlsCert ?? redisTlsKey) !== undefined && !/^rediss/.test(url ?? '')) {
    found.push('FANWIRE_REDIS_TLS_… is set, but REDIS_URL does not begin with rediss: nothing would use it')
  }
  if ((sentinelUsername ?? sentinelPassword) !== undefined && !/^rediss?\+sentinel:/.test(url ?? '')) {
    found.push('FANWIRE_SENTINEL_… is set, but REDIS_URL names no Sentinels: nothing would use it')
  }
  const taken = new Map([[port, 'PORT']])
  for (const [setting, own, what] of [
    ['FANWIRE_H2C_PORT', h2cPort, 'cleartext HTTP/2 needs a port of its own'],
    ['FANWIRE_METRICS_PORT', metricsPort, 'metrics need a port of their own'],
  ] as const) {
    if (own === undefined) continue
    const other = own === 0 ? undefined : taken.get(own)
    if (other !== undefined) found.push(`${setting} is ${own}, as is ${other}: ${what}`)
    if (own === 0 && workers > 1)
      found.push(`${setting} is 0, which WORKERS above 1 can not share: name a port`)
    taken.set(own, setting)
  }
  if (role !== 'all' && url === undefined) {
    found.push(`ROLE is ${role}, which needs REDIS_URL: nodes share their events through Redis`)
  }
  if (workers > 1 && url === undefined) {
    found.push(`WORKERS is ${workers}, which needs REDIS_URL: processes share their events through Redis`)
  }
  if (!isLoopbackHost(host) && publishKeys.length === 0 && !insecure) {
    found.push(
      `HOST is ${host}, where others can reach it, and without FANWIRE_PUBLISH_KEY anybody could publish: ` +
        'set FANWIRE_PUBLISH_KEY to a secret of your choice, or FANWIRE_INSECURE=1 to allow it',
    )
  }
  return found
}

/** Whether a host, as in HOST or in a URL, is on this machine only: localhost, 127.0.0.0/8 or ::1. */
export function isLoopbackHost(host: string): boolean {
  const name = host.toLowerCase().replace(/\.$/, '')
  if (name === 'localhost' || name.endsWith('.localhost')) return true
  if (isIP(name) === 4) return name.startsWith('127.')
  const bracketed = name.startsWith('[') ? name : `[${name}]`
  if (!URL.canParse(`http://${bracketed}`)) return false
  const { hostname } = new URL(`http://${bracketed}`)
  return hostname === '[::1]' || hostname.startsWith('[::ffff:7f')
}

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

/** A setting as the documents and `--help` describe it. */
export interface SettingText {
  readonly env: string
  readonly flag: string
  readonly group: string
  /** The default as it would be written; in brackets where it is described. */
  readonly shown: string
  readonly doc: string
  /** Ends the sentence "expected ...". */
  readonly expects: string
}

/** All settings, in the order of the table. */
export function settingTexts(): SettingText[] {
  return ALL.map(({ env, flag, group, shown, doc, kind }) => ({
    env,
    flag,
    group,
    shown,
    doc,
    expects: kind.expects,
  }))
}

/** The documents' table of settings, in Markdown; each links to its section. */
export function settingsTable(): string {
  const cell = (text: string) => text.replaceAll('|', '\\|')
  const rows = ALL.map(({ env, shown, doc }) => {
    const usual = shown.startsWith('(') ? shown.slice(1, -1) : `\`${shown}\``
    return `| [\`${env}\`](#${env.toLowerCase()}) | ${cell(usual)} | ${cell(doc)} |`
  })
  return ['| setting | default | |', '|---|---|---|', ...rows, ''].join('\n')
}

function help(): string {
  const lines = [
    `fanwire ${VERSION}: publish once, read on any node over polling, SSE, streaming or WebSocket`,
    '',
    'Usage: fanwire [flags]',
    '       fanwire bench --url URL     load-test a running deployment; fanwire bench --help',
    '       fanwire plan --clients N    what so many clients need; fanwire plan --help',
    '',
    '  fanwire                                  one node, events in memory, http://127.0.0.1:8080',
    '  fanwire --redis-url redis://10.0.0.5     as many nodes as you like, one log',
    '',
    'Every flag is also an environment variable, named beside it; flags win.',
    'Durations: 250ms 10s 5m 24h 7d. Sizes: 1048576 512KiB 64MiB 1GB.',
  ]
  const flags = ALL.map(
    ({ flag, kind }) => `--${flag} ${kind.placeholder.length > 12 ? 'VALUE' : kind.placeholder}`,
  )
  const width = Math.max(...flags.map(each => each.length))
  for (const group of GROUPS) {
    lines.push('', `${group}:`)
    for (const [i, each] of ALL.entries()) {
      if (each.group !== group) continue
      const usual = each.shown.startsWith('(') ? each.shown : `(${each.shown})`
      lines.push(`  ${(flags[i] ?? '').padEnd(width)}  ${each.env} ${usual}`)
      lines.push(`  ${''.padEnd(width)}  ${each.doc.replaceAll('`', '')}`)
    }
  }
  lines.push('', '  -h, --help     this text', '  -v, --version  the version')
  lines.push(
    '',
    'Example: listen to the world, keep an hour of history, then publish and read:',
    '',
    '  fanwire --host 0.0.0.0 --publish-key s3cret --history-age 1h',
    "  curl -H 'Authorization: Bearer s3cret' -H 'Content-Type: application/json' -d '{\"hello\":1}' \\",
    '    http://localhost:8080/v1/channels/news/events',
    "  curl -N 'http://localhost:8080/v1/sse?channel=news&cursor=earliest'",
  )
  return lines.join('\n')
}

/** From package.json, which stands above both services/ and dist/services/. */
export const VERSION: string = (() => {
  for (const path of ['../../package.json', '../../package.json']) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'))
      if (name === 'fanwire' && typeof version === 'string') return version
    } catch {
      // Not here.
    }
  }
  return '0.0.0'
})()
