// Reads and checks the settings. This is the only reader of process.env.

import { parseArgs } from 'node:util'
import type { LimitSettings } from '../broker/limits/limited.ts'
import type { Retention } from '../broker/log/log.ts'
import { quote } from '../errors.ts'
import { contradictions } from './checks.ts'
import type { TrustedProxies } from './kinds.ts'
import {
  ALL,
  NAMES,
  type LogLevel,
  type Name,
  type Role,
  type Setting,
  SETTINGS,
  type Values,
} from './settings.ts'
import { help } from './text.ts'
import { VERSION } from './version.ts'

export type { LogLevel, Role }

/** Every setting, checked. Durations are ms, sizes bytes. */
export interface Config extends LimitSettings {
  readonly host: string
  /** 0: any free port. */
  readonly port: number
  /** PEM files of the certificate chain and its key: both, or neither (no TLS). */
  readonly tlsCert: string | undefined
  readonly tlsKey: string | undefined
  /** Additional port with cleartext HTTP/2; 0: any free port. */
  readonly h2cPort: number | undefined
  /** Additional port with metrics, which `port` then lacks, and health; 0: any free port. */
  readonly metricsPort: number | undefined
  readonly role: Role
  readonly workers: number
  /** Undefined for the memory log. May contain a password. */
  readonly redisUrl: string | undefined
  /** Folder of the file log; undefined: no file log. */
  readonly data: string | undefined
  /** Ms until the file log's events are on disk; 0: before they are acknowledged. */
  readonly fsync: number
  /** PEM files for TLS to Redis: CA certificates, and the node's own certificate and key. */
  readonly redisTlsCa: string | undefined
  readonly redisTlsCert: string | undefined
  readonly redisTlsKey: string | undefined
  /** Credentials for Sentinels. The password is secret. */
  readonly sentinelUsername: string | undefined
  readonly sentinelPassword: string | undefined
  readonly redisPrefix: string
  readonly logLevel: LogLevel
  /** Publishing requires one of these keys, unless the list is empty. Secret. */
  readonly publishKeys: readonly string[]
  readonly insecure: boolean
  /** Sources of keys and rules: see `Access`. */
  readonly keysFile: string | undefined
  readonly jwtKeysFile: string | undefined
  readonly jwksUrl: string | undefined
  readonly jwtAudience: readonly string[]
  readonly jwtIssuer: string | undefined
  readonly tokenCookie: string | undefined
  readonly tokenQuery: boolean
  readonly rulesFile: string | undefined
  /** File with the apps of Pusher's protocol; undefined: the protocol is off. */
  readonly pusherApps: string | undefined
  /** Whether deliveries bypass Node's stream if possible. */
  readonly directWrites: boolean
  readonly socketIo: boolean
  readonly durableStreams: boolean
  readonly centrifuge: boolean
  readonly mercure: boolean
  readonly mercureSubscriptions: boolean
  readonly otel: boolean
  /** /docs; undefined: on, except on a pure writer. */
  readonly docs: boolean | undefined
  /** /console; undefined: on, except on a pure writer. */
  readonly console: boolean | undefined
  /** Size from which messages are compressed for ws clients that support it; 0: never. */
  readonly wsDeflate: number
  /**
   * Origins of browser pages that may read, each canonical (see `canonicalOrigin`), with `*.` for a subdomain, or `*`
   * alone; undefined for the default, which depends on `host`.
   */
  readonly origins: readonly string[] | undefined
  /** Origins of pages that may publish; undefined: `origins`, if that is a list. */
  readonly publishOrigins: readonly string[] | undefined
  /** Names of the node besides loopback names, in lower case, with `*.` for a subdomain, or `*` alone. */
  readonly hosts: readonly string[] | undefined
  readonly history: Retention
  /** Thresholds at which low-priority events wake readers; `age` 0: at once. */
  readonly low: { readonly events: number; readonly bytes: number; readonly age: number }
  /** Proxies trusted to report a client's address; undefined: none. */
  readonly trustProxy: TrustedProxies | undefined
  readonly maxBody: number
  readonly maxChannels: number
  readonly maxConnections: number
  readonly memory: number
  readonly maxFollowed: number
  /** Thresholds above which new reads are rejected: event loop lag (ms; 0: never), process memory (bytes; 0: never). */
  readonly maxLoopDelay: number
  readonly maxRss: number
  readonly linger: number
  readonly presenceGrace: number
  readonly hooksPrivate: readonly string[]
  readonly heartbeat: number
  readonly stall: number
  readonly drain: number
  /** The time between failing /readyz and closing the listener. */
  readonly drainNotice: number
  /** The maximum age of a connection; 0: unlimited. */
  readonly maxAge: number
  readonly idempotencyWindow: number
  readonly logTimeout: number
}

/** Invalid settings. The message has a line for each, and never contains a secret. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

/** The requested action: start a node, or print a text. */
export type Command = { readonly config: Config } | { readonly print: string }

/** Environment variables of the commands that talk to a node. */
const OF_COMMANDS: readonly string[] = ['FANWIRE_URL', 'FANWIRE_TOKEN']

/** The default node of commands, and the token or key for it. */
export function nodeInEnvironment(env: Readonly<Record<string, string | undefined>> = process.env) {
  return { url: env.FANWIRE_URL || undefined, token: env.FANWIRE_TOKEN || undefined }
}

/** The file of the keys of tokens, for commands that check tokens as a node does. */
export function tokenKeysInEnvironment(env: Readonly<Record<string, string | undefined>> = process.env) {
  return env[SETTINGS.jwtKeysFile.env] || undefined
}

/** The flags of Node itself: those of NODE_OPTIONS, then those of the command line. */
export function flagsOfNode(env: Readonly<Record<string, string | undefined>> = process.env): string {
  return [env.NODE_OPTIONS ?? '', ...process.execArgv].join(' ')
}

const FLAG_HINT = 'see --help'

/**
 * Reads the command line and the environment. Flags take precedence. Empty environment variables count as unset.
 * Raises ConfigError, whose message names every invalid setting.
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
    if (name.startsWith('FANWIRE_') && !known.has(name) && !OF_COMMANDS.includes(name))
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

/** Long enough for a load balancer that checks twice a second; 0 for a single node, whose clients can go nowhere else. */
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
