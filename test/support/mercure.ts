// A node with Mercure, tokens of both versions of its protocol, and subscribers and publishers like the libraries'.

import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { EventSource } from 'eventsource-4'
import { type Node, type Settings, startMemoryNode, type StartNode } from '../contract/node.ts'
import { jwks, secretKey, signToken } from './tokens.ts'
import { temporaryFolder } from './tools.ts'
import { until } from './until.ts'

export const HUB = '/.well-known/mercure'
const KEY = secretKey('HS256', 'hub', {}, '!ChangeThisMercureHubJWTSecretKey!')

/** Tokens may publish and read the topics that they grant; everyone may read topics that are not private. */
const RULES = { default: { subscribe: ['anyone', 'token'], publish: 'token' } }

export interface Message {
  readonly id: string
  readonly type: string
  readonly data: string
}

export interface Subscription {
  readonly received: readonly Message[]
  readonly source: EventSource
  /** Returns all messages once this many have arrived. */
  got(count: number): Promise<readonly Message[]>
}

export async function startHub(
  settings: Settings = {},
  rules: object = RULES,
  start: StartNode = startMemoryNode,
) {
  const folder = temporaryFolder()
  writeFileSync(join(folder, 'keys.json'), jwks(KEY))
  writeFileSync(join(folder, 'rules.json'), JSON.stringify(rules))
  const node = await start({
    MERCURE: '1',
    JWT_KEYS_FILE: join(folder, 'keys.json'),
    RULES: join(folder, 'rules.json'),
    ...settings,
  })
  return {
    node,
    writeRules: (text: object) => writeFileSync(join(folder, 'rules.json'), JSON.stringify(text)),
    ...hubOf(node),
  }
}

/** A token of Mercure 0.x. */
export function tokenOf(mercure: unknown, more: object = {}): string {
  return signToken(KEY, { mercure, ...more })
}

/** A token of Mercure 1.0. */
export function accessToken(details: readonly object[], more: object = {}): string {
  const all = details.map(detail => ({ type: 'https://mercure.rocks/authorization-detail', ...detail }))
  const exp = Math.floor(Date.now() / 1000) + 600
  return signToken(KEY, { exp, authorization_details: all, ...more }, { typ: 'at+jwt' })
}

export const ALL = tokenOf({ publish: ['*'], subscribe: ['*'] })

export function hubOf({ port }: Pick<Node, 'port'>) {
  const sources: EventSource[] = []
  const at = (query = '') => `http://127.0.0.1:${port}${HUB}${query}`

  /** Publishes like symfony/mercure. */
  const post = (
    fields: Record<string, string | string[]>,
    token = ALL,
    headers: Record<string, string> = {},
  ) => {
    const body = new URLSearchParams()
    for (const [name, values] of Object.entries(fields))
      for (const value of [values].flat()) body.append(name, value)
    return fetch(at(), { method: 'POST', body, headers: { authorization: `Bearer ${token}`, ...headers } })
  }
  /** Publishes. Returns the id. */
  const publish = async (fields: Record<string, string | string[]>, token = ALL): Promise<string> => {
    const answer = await post(fields, token)
    const text = await answer.text()
    if (answer.status !== 200) throw new Error(text)
    return text
  }
  /** Subscribes. Returns once the stream is open. */
  const subscribe = async (
    query: string,
    { headers = {}, types = [] }: { headers?: Record<string, string>; types?: readonly string[] } = {},
  ): Promise<Subscription> => {
    const source = new EventSource(at(query), {
      fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...headers } }),
    })
    sources.push(source)
    const received: Message[] = []
    for (const type of ['message', 'gap', ...types])
      source.addEventListener(type, ({ lastEventId: id, data }) => void received.push({ id, type, data }))
    await once(source as unknown as EventTarget, 'open')
    return {
      received,
      source,
      async got(count) {
        await until(`${count} have arrived`, () => received.length >= count)
        return received
      },
    }
  }
  return {
    at,
    post,
    publish,
    subscribe,
    disconnect: () => sources.splice(0).forEach(source => source.close()),
  }
}
