// A memory node with rules, keys and tokens, and requests that control it.

import { createHash } from 'node:crypto'
import { join } from 'node:path'
import type { Test } from 'tap'
import { type Node, type Settings, startMemoryNode } from '../../contract/node.ts'
import { jwks, signToken, type TestKey, testKey, userClaims } from '../../support/tokens.ts'

export const ADMIN = 'fw_admin-s3cret'
const ROOM_ADMIN = 'fw_room-admin-s3cret'
const READER = 'fw_reader-s3cret'

const entry = (id: string, key: string, allow: readonly string[], channels: readonly string[]) => ({
  id,
  sha256: createHash('sha256').update(key).digest('hex'),
  allow,
  channels,
})

const KEYS = [
  entry('console', ADMIN, ['admin', 'publish'], ['*']),
  entry('room-console', ROOM_ADMIN, ['admin'], ['room:*']),
  entry('reader', READER, ['subscribe', 'history', 'publish', 'presence'], ['*']),
]

const RULES = `channels:
  - { match: "inbox:{user}", subscribe: user }
  - { match: "room:*", subscribe: token }
  - { match: "chat:*", subscribe: token, presence: true }
default: { subscribe: nobody, publish: nobody }
`

export interface Answer {
  readonly status: number
  /** The parsed JSON; `{}` for an empty response. */
  readonly body: Record<string, unknown>
  readonly headers: Headers
}

export interface Controlled {
  readonly node: Node
  readonly key: TestKey
  token(user: string, more?: Record<string, unknown>): string
  get(path: string, credential?: string): Promise<Answer>
  post(path: string, body?: unknown, credential?: string, headers?: Record<string, string>): Promise<Answer>
}

export const CREDENTIALS = { ROOM_ADMIN, READER } as const

/** Starts a node. Requests have the admin's key as `credential` by default; an empty one is left out. */
export async function controlled(t: Test, settings: Settings = {}): Promise<Controlled> {
  const key = testKey('HS256')
  const folder = t.testdir({ 'jwks.json': jwks(key), 'rules.yaml': RULES, 'keys.json': JSON.stringify(KEYS) })
  const node = await startMemoryNode({
    RULES: join(folder, 'rules.yaml'),
    JWT_KEYS_FILE: join(folder, 'jwks.json'),
    KEYS_FILE: join(folder, 'keys.json'),
    ...settings,
  })
  t.teardown(() => node.close())
  return { node, key, token: (user, more) => signToken(key, userClaims(user, more)), ...client(node) }
}

export function client(node: Node): Pick<Controlled, 'get' | 'post'> {
  const send = async (path: string, credential: string, init: RequestInit): Promise<Answer> => {
    const headers = {
      ...init.headers,
      ...(credential === '' ? {} : { authorization: `Bearer ${credential}` }),
    }
    const answer = await fetch(`http://127.0.0.1:${node.port}${path}`, { ...init, headers })
    const text = await answer.text()
    const body = text === '' ? {} : (JSON.parse(text) as Record<string, unknown>)
    return { status: answer.status, body, headers: answer.headers }
  }
  return {
    get: (path, credential = ADMIN) => send(path, credential, {}),
    post: (path, body, credential = ADMIN, headers = {}) =>
      send(path, credential, {
        method: 'POST',
        ...(body === undefined
          ? { headers }
          : {
              body: typeof body === 'string' ? body : JSON.stringify(body),
              headers: { 'content-type': 'application/json', ...headers },
            }),
      }),
  }
}

export interface Follower {
  /** Everything received so far. */
  readonly text: string
  readonly ended: Promise<void>
  /** Returns once the received text contains `text`. */
  saw(text: string): Promise<void>
  close(): void
}

/** Reads `path` as a stream until it ends. */
export async function follow(t: Test, node: Node, path: string, credential = ''): Promise<Follower> {
  const abort = new AbortController()
  const headers = credential === '' ? {} : { authorization: `Bearer ${credential}` }
  const answer = await fetch(`http://127.0.0.1:${node.port}${path}`, { headers, signal: abort.signal })
  if (answer.status !== 200 || answer.body === null)
    throw new Error(`${answer.status} ${await answer.text()}`)
  let text = ''
  let look = () => {}
  const read = async (body: AsyncIterable<Uint8Array>) => {
    const decoder = new TextDecoder()
    try {
      for await (const piece of body) {
        text += decoder.decode(piece, { stream: true })
        look()
      }
    } catch {
      // The stream broke off: a stream whose client should reconnect has no proper end.
    }
    look()
  }
  const ended = read(answer.body as unknown as AsyncIterable<Uint8Array>)
  t.teardown(() => abort.abort())
  return {
    get text() {
      return text
    },
    ended,
    async saw(wanted) {
      while (!text.includes(wanted)) {
        await new Promise<void>(resolve => {
          look = resolve
        })
      }
    },
    close: () => abort.abort(),
  }
}
