// The target of REDIS_URL: one server, a master that sentinels name, or a cluster.

import { urlOf } from '../../../urls.ts'

export interface HostPort {
  readonly host: string
  readonly port: number
}

export interface Endpoint {
  /** `sentinel`: the hosts are sentinels, which name the current master. */
  readonly kind: 'server' | 'sentinel' | 'cluster'
  /** The server, the sentinels, or nodes of the cluster. At least one has to answer. */
  readonly hosts: readonly HostPort[]
  /** The master's name for `sentinel`; '' otherwise. */
  readonly master: string
  readonly db: number
  readonly tls: boolean
  /** The user name at the servers. */
  readonly username: string | undefined
  readonly password: string | undefined
  /** The certificates for TLS. The URL has neither them nor the sentinels' credentials. */
  readonly certificates?: Certificates | undefined
  readonly sentinelLogin?: Login | undefined
}

/** Certificates and keys, PEM. */
export interface Certificates {
  /** Default: the system's certificate authorities. */
  readonly ca: Buffer | undefined
  /** Default: no client certificate. */
  readonly cert: Buffer | undefined
  readonly key: Buffer | undefined
}

export interface Login {
  readonly username: string | undefined
  readonly password: string | undefined
}

const FORM = /^redis(s?)(?:\+(sentinel|cluster))?:\/\/(?:([^/?#]*)@)?([^/?#]*)((?:\/[^?#]*)?)$/

/** Raises Error. Its message completes "REDIS_URL is malformed: " and contains nothing of the URL. */
export function parseEndpoint(url: string): Endpoint {
  const match = FORM.exec(url)
  if (match === null) throw new Error('it has another scheme, or a query or fragment')
  const [, s, kind = 'server', login, hosts = '', path = ''] = match
  const port = kind === 'sentinel' ? 26_379 : 6379
  const list = hosts.split(',').map(each => parseHost(each, port))
  if (kind === 'server' && list.length > 1)
    throw new Error('several hosts need redis+sentinel:// or redis+cluster://')
  const parts = path.split('/').slice(1)
  const master = kind === 'sentinel' ? decoded(parts.shift() ?? '') : ''
  if (kind === 'sentinel' && !/^[\w.-]+$/.test(master))
    throw new Error("the master's name is missing after the sentinels")
  const [db = '', ...more] = parts
  if (!/^\d{0,5}$/.test(db) || more.length > 0)
    throw new Error('what follows the host is not a database number')
  if (kind === 'cluster' && Number(db) !== 0) throw new Error('a cluster has no databases')
  return {
    kind: kind as Endpoint['kind'],
    hosts: list,
    master,
    db: Number(db),
    tls: s === 's',
    ...parseLogin(login),
  }
}

/** The endpoint's address for messages, without credentials. */
export function addressOf({ hosts, master }: Endpoint): string {
  const list = hosts.map(printHost).join(',')
  return master === '' ? list : `${list}/${master}`
}

export function printHost({ host, port }: HostPort): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

function parseHost(text: string, usual: number): HostPort {
  const wrong = new Error('a host is missing, or it is not host or host:port')
  const url = urlOf(`redis://${text}`)
  if (url === undefined) throw wrong
  const { hostname, port } = url
  if (hostname === '' || port === '0') throw wrong
  return { host: hostname.replace(/^\[(.*)\]$/, '$1'), port: port === '' ? usual : Number(port) }
}

function parseLogin(text: string | undefined): Pick<Endpoint, 'username' | 'password'> {
  if (text === undefined) return { username: undefined, password: undefined }
  const colon = text.indexOf(':')
  const username = decoded(colon === -1 ? text : text.slice(0, colon))
  const password = colon === -1 ? '' : decoded(text.slice(colon + 1))
  return {
    username: username === '' ? undefined : username,
    password: password === '' ? undefined : password,
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new Error('a literal % has to be written as %25')
  }
}
