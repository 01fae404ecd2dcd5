// The forms in which values of settings are written.

import { isIP } from 'node:net'
import { jwksUrlFault } from '../broker/access/jwks-url-fault.ts'
import type { Allowance } from '../broker/limits/buckets.ts'
import { urlOf } from '../urls.ts'
import { parseFrequency } from '../broker/rules/frequency.ts'
import { parseEndpoint } from '../broker/log/redis/url.ts'

/** A kind of value, and how it is written. */
export interface Kind<T> {
  /** The value's placeholder in `--help`. */
  readonly placeholder: string
  /** Ends the sentence "expected ...". */
  readonly expects: string
  /** Never shown in a message. */
  readonly secret?: true
  /** The flag needs no value. */
  readonly flag?: true
  /** Undefined if `text` is malformed or out of range. */
  parse(text: string): T | undefined
  /** Why `parse` rejects `text`, without secrets. */
  problem?(text: string): string
}

export function integer(least: number, most: number): Kind<number> {
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

/** `least` and `most` in the notation of the setting. */
export function duration(least: string, most: string): Kind<number> {
  const parse = (text: string) => {
    const match = /^(\d{1,12})(ms|s|m|h|d)$/.exec(text)
    if (match === null) return text === '0' ? 0 : undefined
    return Number(match[1]) * DURATION[match[2] as keyof typeof DURATION]
  }
  return bounded(parse, least, most, 'DURATION', 'a duration such as 250ms, 10s, 5m, 24h or 7d')
}

export function size(least: string, most: string): Kind<number> {
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

export function oneOf<T extends string>(...values: T[]): Kind<T> {
  return {
    placeholder: values.join('|'),
    expects: `one of ${values.join(', ')}`,
    parse: text => values.find(value => value === text),
  }
}

export const onOff: Kind<boolean> = {
  placeholder: '',
  expects: '1 or 0',
  flag: true,
  parse: text =>
    text === '1' || text === 'true' ? true : text === '0' || text === 'false' ? false : undefined,
}

export const file: Kind<string> = {
  placeholder: 'FILE',
  expects: 'the path of a file',
  parse: text => (text.includes('\0') ? undefined : text),
}

export const folder: Kind<string> = {
  placeholder: 'FOLDER',
  expects: 'the path of a folder',
  parse: text => (text.includes('\0') ? undefined : text),
}

const interval = duration('1ms', '1m')

/** A duration in ms, or `always`, which is 0. */
export const fsync: Kind<number> = {
  placeholder: 'always|DURATION',
  expects: `always, or ${interval.expects}`,
  parse: text => (text === 'always' ? 0 : interval.parse(text)),
}

export const visible: Kind<string> = {
  placeholder: 'TEXT',
  expects: '1 to 512 characters without control characters',
  parse: text => (/^[^\p{Cc}]{1,512}$/u.test(text) ? text : undefined),
}

export const hostName: Kind<string> = {
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

export const redisUrl: Kind<string> = {
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

export const redisPrefix: Kind<string> = {
  placeholder: 'TEXT',
  expects: '1 to 64 of A-Z a-z 0-9 _ . : -',
  parse: text => (/^[A-Za-z0-9_.:-]{1,64}$/.test(text) ? text : undefined),
}

export const keys: Kind<readonly string[]> = {
  placeholder: 'KEY,...',
  expects: 'one or more keys of visible ASCII characters, separated by commas',
  secret: true,
  parse(text) {
    const list = text.split(',').map(key => key.trim())
    return list.every(key => /^[\x21-\x7e]{1,512}$/.test(key)) ? list : undefined
  },
}

export const jwksUrl: Kind<string> = {
  placeholder: 'URL',
  expects: 'an https URL, or an http URL on loopback, without a user and a password',
  secret: true,
  parse: text => (jwksUrlFault(text) === undefined ? text : undefined),
  problem: text => `it ${jwksUrlFault(text) ?? ''}`,
}

export const textList: Kind<readonly string[]> = {
  placeholder: 'TEXT,...',
  expects: 'one or more texts without control characters, separated by commas',
  parse(text) {
    const list = text.split(',').map(each => each.trim())
    return list.every(each => visible.parse(each) !== undefined) ? list : undefined
  },
}

export const cookieName: Kind<string> = {
  placeholder: 'NAME',
  expects: 'the name of a cookie, such as __Host-token',
  parse: text => (/^[\w!#$%&'*+.^`|~-]{1,128}$/.test(text) ? text : undefined),
}

/**
 * An origin as browsers print it: scheme, host, and the port if it is not the scheme's own. Undefined if `text` is
 * not an origin, such as `null`.
 */
export function canonicalOrigin(text: string): string | undefined {
  if (!/^[a-z][a-z0-9+.-]*:\/\/[^\s/?#@*\\]+$/i.test(text)) return undefined
  const { origin, protocol, host } = urlOf(text.toLowerCase()) ?? { origin: '', protocol: '', host: '' }
  if (host === '') return undefined
  // The URL standard knows origins of a few schemes only.
  return origin === 'null' ? `${protocol}//${host}` : origin
}

function canonicalPattern(text: string): string | undefined {
  if (!text.includes('://*.')) return canonicalOrigin(text)
  return canonicalOrigin(text.replace('://*.', '://'))?.replace('://', '://*.')
}

export const originList: Kind<readonly string[]> = {
  placeholder: 'ORIGIN,...',
  expects:
    '* alone, or origins such as https://app.example.com, https://*.example.com, http://localhost:3000 or ' +
    'capacitor://localhost, separated by commas',
  parse: text => listOf(text, canonicalPattern),
}

export const hostList: Kind<readonly string[]> = {
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

const NO_LIMIT: Allowance = { burst: 0, perSecond: 0 }

/** A rate as in the rules file, and an optional burst after a colon (default: the amount of one second). */
function allowance(expects: string, perSecondOf: Parse, burstOf: Parse): Kind<Allowance> {
  return {
    placeholder: 'RATE',
    expects,
    parse(text) {
      if (text === '0') return NO_LIMIT
      const [rate = '', atOnce, more] = text.split(':')
      const perSecond = perSecondOf(rate)
      if (perSecond === undefined || more !== undefined) return undefined
      const burst = atOnce === undefined ? Math.max(1, Math.ceil(perSecond)) : burstOf(atOnce)
      return burst === undefined ? undefined : { burst, perSecond }
    },
  }
}

type Parse = (text: string) => number | undefined

export const rate = allowance(
  '0 for none, or a rate such as 10/s, 600/m or 100/h, with an optional burst after a colon, such as 10/s:50',
  parseFrequency,
  text => integer(1, 1e9).parse(text),
)

const bytes = size('1', '1024GiB')

export const byteRate = allowance(
  '0 for none, or a size a second such as 1MiB/s, with an optional burst after a colon, such as 1MiB/s:8MiB',
  text => (text.endsWith('/s') ? bytes.parse(text.slice(0, -2)) : undefined),
  text => bytes.parse(text),
)

/** Proxies whose report of a client's address is trusted: a number of hops, or addresses and networks. */
export type TrustedProxies = { readonly hops: number } | { readonly networks: readonly string[] }

export const trustedProxies: Kind<TrustedProxies> = {
  placeholder: 'ADDRESS,...',
  expects:
    'the number of proxies in front of the node, 1 to 32, or addresses and networks such as 10.0.0.0/8, fd00::/8 or ' +
    '192.0.2.7, separated by commas',
  parse(text) {
    const hops = integer(1, 32).parse(text)
    if (hops !== undefined) return { hops }
    const networks = text.split(',').map(each => each.trim())
    return networks.every(isNetwork) ? { networks } : undefined
  },
}

function isNetwork(text: string): boolean {
  const [address = '', bits, more] = text.split('/')
  const family = isIP(address)
  if (family === 0 || address.includes('%') || more !== undefined) return false
  return bits === undefined || integer(0, family === 4 ? 32 : 128).parse(bits) !== undefined
}

/** `*` alone, or the parsed elements; undefined if one is malformed. */
function listOf(text: string, parse: (each: string) => string | undefined): readonly string[] | undefined {
  const list = text.split(',').map(each => each.trim())
  if (list.length === 1 && list[0] === '*') return list
  const parsed = list.map(parse)
  return parsed.every(each => each !== undefined) ? parsed : undefined
}

/** Whether a host, as in HOST or in a URL, is on this machine only: localhost, 127.0.0.0/8 or ::1. */
export function isLoopbackHost(host: string): boolean {
  const name = host.toLowerCase().replace(/\.$/, '')
  if (name === 'localhost' || name.endsWith('.localhost')) return true
  if (isIP(name) === 4) return name.startsWith('127.')
  const bracketed = name.startsWith('[') ? name : `[${name}]`
  const { hostname } = urlOf(`http://${bracketed}`) ?? { hostname: '' }
  return hostname === '[::1]' || hostname.startsWith('[::ffff:7f')
}
