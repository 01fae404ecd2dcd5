// Identifies the owner of a request by its address: the socket's, or the one that trusted proxies report.

import { BlockList, isIP, isIPv6, type Socket } from 'node:net'
import type { FastifyRequest } from 'fastify'
import type { Asker } from '../broker/access/asking.ts'
import type { Identity } from '../broker/access/identity.ts'
import { ownCopy } from '../broker/event/names.ts'
import type { Publishing } from '../broker/publisher.ts'
import type { TrustedProxies } from '../config/kinds.ts'
import { askerOf } from './asking.ts'

/** Identifies the owner of an address: an IPv4 address, or the first 64 bits of an IPv6 one. */
export function ownerOf(address: string): string {
  const plain = plainOf(address)
  if (!isIPv6(plain)) return plain
  const [head = '', tail = ''] = plain.split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail === '' ? [] : tail.split(':')
  const zeros = new Array<string>(Math.max(0, 8 - before.length - after.length)).fill('0')
  const groups = [...before, ...zeros, ...after].slice(0, 4)
  return groups.map(group => group.replace(/^0+(?=.)/, '').toLowerCase()).join(':')
}

/** An IPv4 address in IPv6 notation counts as IPv4. */
function plainOf(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/i, '')
}

/** Whether the proxy at that hop is trusted to report the client's address. */
type Trust = (address: string, hop: number) => boolean

function trustOf(trusted: TrustedProxies | undefined): Trust | undefined {
  if (trusted === undefined) return undefined
  if ('hops' in trusted) return (_address, hop) => hop < trusted.hops
  const list = new BlockList()
  for (const network of trusted.networks) {
    const [address = '', bits] = network.split('/')
    const family = isIPv6(address) ? 'ipv6' : 'ipv4'
    if (bits === undefined) list.addAddress(address, family)
    else list.addSubnet(address, Number(bits), family)
  }
  return address => isIP(address) !== 0 && list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
}

/** The maximum number of hops that are examined. */
const MOST_HOPS = 32

export class Addresses {
  readonly #trusts: Trust | undefined

  constructor(trusted: TrustedProxies | undefined) {
    this.#trusts = trustOf(trusted)
  }

  /** Identifies the client of a request. */
  of({ raw }: Pick<FastifyRequest, 'raw'>): string {
    const { remoteAddress = '' } = raw.socket
    if (this.#trusts === undefined) return ownerOf(remoteAddress)
    return ownCopy(ownerOf(this.#behind(plainOf(remoteAddress), raw)))
  }

  /** Identifies the client of a connection; undefined for a trusted proxy, which has many clients. */
  ofSocket({ remoteAddress = '' }: Pick<Socket, 'remoteAddress'>): string | undefined {
    return this.#trusts?.(plainOf(remoteAddress), 0) ? undefined : ownerOf(remoteAddress)
  }

  /** The client behind trusted proxies. If both headers differ, the client has added one that its proxy does not know. */
  #behind(socket: string, { headers }: FastifyRequest['raw']): string {
    const { forwarded, 'x-forwarded-for': list } = headers
    const standard = forwarded === undefined ? undefined : this.#client(socket, forElements(forwarded))
    if (list === undefined) return standard ?? socket
    const usual = this.#client(socket, String(list).split(','))
    return standard === undefined || standard === usual ? usual : socket
  }

  /** The rightmost untrusted address. Anything before an invalid address comes from an unknown sender. */
  #client(socket: string, said: readonly string[]): string {
    let client = socket
    for (let hop = 0; hop < Math.min(said.length, MOST_HOPS); hop++) {
      if (!this.#trusts?.(client, hop)) return client
      const next = addressIn(said[said.length - 1 - hop] ?? '')
      if (next === undefined) return client
      client = next
    }
    return client
  }
}

/** Text whose quotes are all closed. */
const QUOTED = /^(?:[^"]|"(?:[^"\\]|\\.)*")*$/

/**
 * `for` of each element of `Forwarded` (RFC 7239 section 4), in order; empty if an element has none. A client that
 * leaves a quote open would swallow its proxy's addition: such a header is ignored.
 */
function forElements(header: string): string[] {
  if (!QUOTED.test(header)) return []
  const elements = header.match(/(?:[^,"]|"(?:[^"\\]|\\.)*")+/g) ?? []
  return elements.map(element => {
    const [, quoted, plain = ''] = /(?:^|;)\s*for=(?:"([^"]*)"|([^;\s]*))/i.exec(element) ?? []
    return quoted ?? plain
  })
}

/** An address as proxies write it, perhaps with a port; undefined for anything else, such as `unknown`. */
function addressIn(text: string): string | undefined {
  const trimmed = text.trim()
  const [, bracketed] = /^\[([^\]]+)\](?::\d{1,5})?$/.exec(trimmed) ?? []
  const address = plainOf(bracketed ?? trimmed.replace(/^(\d+\.\d+\.\d+\.\d+):\d{1,5}$/, '$1'))
  return isIP(address) === 0 ? undefined : address
}

/** Identifies a request's client for limits. */
export function addressOf(request: FastifyRequest): string {
  return request.server.fanwire.addresses.of(request)
}

/** A request's party for limits. Keeps a reference to the request. */
export function partyOf(request: FastifyRequest): Publishing {
  return new Requester(request)
}

class Requester implements Publishing {
  readonly #request: FastifyRequest

  constructor(request: FastifyRequest) {
    this.#request = request
  }

  get identity(): Identity {
    return this.#request.identity
  }

  get asker(): Asker {
    return askerOf(this.#request)
  }

  /** Computed on demand, since most nodes have no limit that needs it. */
  get address(): string {
    return addressOf(this.#request)
  }
}
