// Whose a request is by its address: that of its socket, or where proxies are trusted, what they say of it.

import { BlockList, isIP, isIPv6, type Socket } from 'node:net'
import type { FastifyRequest } from 'fastify'
import type { Asker } from '../broker/access/asking.ts'
import type { Identity } from '../broker/access/identity.ts'
import type { Publishing } from '../broker/publisher.ts'
import type { TrustedProxies } from '../config/kinds.ts'
import { askerOf } from './asking.ts'

/** What stands for the owner of an address: an IPv4 address, or the first 64 bits of an IPv6 one. */
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

/** An IPv4 address in IPv6 is one of IPv4. */
function plainOf(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/i, '')
}

/** Whether the proxy that is so many hops away is trusted to say whose a request is. */
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

/** Longest list of hops that is looked at: more of them nobody has. */
const MOST_HOPS = 32

export class Addresses {
  readonly #trusts: Trust | undefined

  constructor(trusted: TrustedProxies | undefined) {
    this.#trusts = trustOf(trusted)
  }

  /** What stands for the client of a request. */
  of({ raw }: Pick<FastifyRequest, 'raw'>): string {
    const { remoteAddress = '' } = raw.socket
    return ownerOf(this.#trusts === undefined ? remoteAddress : this.#behind(plainOf(remoteAddress), raw))
  }

  /** What stands for the client of a connection; undefined for a trusted proxy, behind which are many. */
  ofSocket({ remoteAddress = '' }: Pick<Socket, 'remoteAddress'>): string | undefined {
    return this.#trusts?.(plainOf(remoteAddress), 0) ? undefined : ownerOf(remoteAddress)
  }

  /** Where both headers come, and say different things, a client has added one that its proxy does not know. */
  #behind(socket: string, { headers }: FastifyRequest['raw']): string {
    const { forwarded, 'x-forwarded-for': list } = headers
    const standard = forwarded === undefined ? undefined : this.#client(socket, forElements(forwarded))
    if (list === undefined) return standard ?? socket
    const usual = this.#client(socket, String(list).split(','))
    return standard === undefined || standard === usual ? usual : socket
  }

  /** The rightmost that is not trusted. What is behind something that is no address was said by nobody known. */
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

/** Text in quotes, closed. */
const QUOTED = /^(?:[^"]|"(?:[^"\\]|\\.)*")*$/

/**
 * `for` of each element of `Forwarded` (RFC 7239 section 4), in order; empty where one has none. A client that leaves a
 * quote open would swallow what its proxy adds: of that header nothing counts.
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

/** What stands for the client of a request, as limits know it. */
export function addressOf(request: FastifyRequest): string {
  return request.server.fanwire.addresses.of(request)
}

/** Who asks, as limits know it. Holds on to the request. */
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

  /** Most nodes have no limit that asks. */
  get address(): string {
    return addressOf(this.#request)
  }
}
