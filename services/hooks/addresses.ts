// The addresses to which hooks may be sent: public ones, this machine if the URL names it, and private ones of hosts that
// the operator has listed. A name is resolved for each connection, which uses the address that was checked.

import { lookup, type LookupAddress } from 'node:dns'
import { BlockList, isIP, type LookupFunction } from 'node:net'

const LOOPBACK = new BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4')
LOOPBACK.addAddress('::1', 'ipv6')

/** Ranges of addresses that are not public (RFC 6890), and those that lead to such addresses. */
const PRIVATE = new BlockList()
for (const [net, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 3],
] as const)
  PRIVATE.addSubnet(net, bits, 'ipv4')
for (const [net, bits] of [
  ['::', 96],
  ['64:ff9b::', 96],
  ['64:ff9b:1::', 48],
  ['2002::', 16],
  ['fc00::', 7],
  ['fe80::', 10],
  ['ff00::', 8],
] as const)
  PRIVATE.addSubnet(net, bits, 'ipv6')

export class Addresses {
  readonly #named: ReadonlySet<string>

  /** `named` are hosts that may have private addresses. */
  constructor(named: readonly string[]) {
    this.#named = new Set(named)
  }

  /** Why a URL may not be called; undefined if it may. */
  faultOf(url: URL): string | undefined {
    const host = hostOf(url)
    if (url.protocol === 'http:' && !isLoopbackName(host) && !this.#named.has(host)) {
      return 'http is for this machine and for named hosts: write https'
    }
    return isIP(host) !== 0 && !this.may(host, host) ? `${host} is a private address` : undefined
  }

  /** Whether a host may be called at that address. */
  may(host: string, address: string): boolean {
    if (this.#named.has(host)) return true
    const plain = address.replace(/^::ffff:(?=\d+\.)/i, '')
    const family = isIP(plain) === 6 ? 'ipv6' : 'ipv4'
    if (LOOPBACK.check(plain, family)) return isLoopbackName(host)
    return !PRIVATE.check(plain, family)
  }

  /** A lookup function for sockets that returns only permitted addresses. */
  readonly lookup: LookupFunction = (host, options, callback) => {
    lookup(host, { ...options, all: true }, (error, found: LookupAddress[]) => {
      if (error !== null) return callback(error, '')
      const allowed = found.filter(({ address }) => this.may(host, address))
      const [first] = allowed
      if (first === undefined) {
        return callback(Object.assign(new Error(`${host} is at a private address`), { code: 'EADDRESS' }), '')
      }
      if (options.all === true) callback(null, allowed)
      else callback(null, first.address, first.family)
    })
  }
}

export function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[(.*)\]$/, '$1')
}

function isLoopbackName(host: string): boolean {
  if (isIP(host) !== 0) return LOOPBACK.check(host, isIP(host) === 6 ? 'ipv6' : 'ipv4')
  return host === 'localhost' || host.endsWith('.localhost')
}
