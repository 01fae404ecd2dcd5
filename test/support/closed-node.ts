// Settings and credentials of a closed node. Its rules, API keys and token keys are in files that tests may rewrite.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeApiKey } from '../../services/broker/access/api-keys.ts'
import type { Right } from '../../services/broker/access/grants.ts'
import type { Settings } from '../contract/node.ts'
import { jwks, signToken, type TestKey, testKey, userClaims } from './tokens.ts'
import { temporaryFolder } from './tools.ts'

export const RULES = `
channels:
  - { match: "room:*", subscribe: token, publish: token, presence: true }
  - { match: "open:*", subscribe: anyone, publish: anyone }
  - { match: "inbox:{user}", subscribe: user, publish: user }
default: { subscribe: token, publish: nobody }
`
export const AUDIENCE = 'fanwire'
export const ISSUER = 'https://issuer.example'
export const COOKIE = 'fw_token'

const ALL: readonly Right[] = ['publish', 'subscribe', 'history', 'presence', 'admin']
const keyOf = (id: string, allow = ALL, channels = ['*'], until?: string) =>
  makeApiKey(id, allow, channels, until)

export class ClosedWorld {
  readonly hs = testKey('HS256', 'hs')
  readonly rs = testKey('RS256', 'rs')
  /** Bound to an issuer and an audience. */
  readonly es = testKey('ES256', 'es', { iss: ISSUER, aud: AUDIENCE })
  readonly keys = {
    all: keyOf('all'),
    readers: keyOf('readers', ['subscribe']),
    writers: keyOf('writers', ['publish']),
    elsewhere: keyOf('elsewhere', ALL, ['other:*']),
    expired: keyOf('expired', ALL, ['*'], '2020-01-01'),
  }
  readonly #folder = temporaryFolder()

  constructor() {
    this.writeRules(RULES)
    this.writeKeys()
    this.writeTokenKeys()
    writeFileSync(this.#path('apps.json'), JSON.stringify([{ id: 'app', key: 'key', secret: 'secret' }]))
  }

  /** The settings of a node. */
  get settings(): Settings {
    return {
      RULES: this.#path('rules.yaml'),
      KEYS_FILE: this.#path('keys.json'),
      JWT_KEYS_FILE: this.#path('jwks.json'),
      TOKEN_COOKIE: COOKIE,
      SOCKET_IO: '1',
      DURABLE_STREAMS: '1',
      CENTRIFUGE: '1',
      MERCURE: '1',
      MERCURE_SUBSCRIPTIONS: '1',
      PUSHER_APPS: this.#path('apps.json'),
    }
  }

  writeRules(text: string): void {
    writeFileSync(this.#path('rules.yaml'), text)
  }

  /** Writes the file of API keys without the keys of these ids. */
  writeKeys(...without: string[]): void {
    const entries = Object.values(this.keys).map(({ entry }) => entry)
    const kept = entries.filter(({ id }) => !without.includes(String(id)))
    writeFileSync(this.#path('keys.json'), JSON.stringify(kept))
  }

  /** Writes the file of API keys with changed members of one entry. */
  changeKey(id: string, members: Record<string, unknown>): void {
    const entries = Object.values(this.keys).map(({ entry }) =>
      entry.id === id ? { ...entry, ...members } : entry,
    )
    writeFileSync(this.#path('keys.json'), JSON.stringify(entries))
  }

  writeTokenKeys(...keys: TestKey[]): void {
    writeFileSync(this.#path('jwks.json'), jwks(...(keys.length > 0 ? keys : [this.hs, this.rs, this.es])))
  }

  #path(name: string): string {
    return join(this.#folder, name)
  }

  /** A token with all rights that tokens can have, for the rooms. */
  token(more: Record<string, unknown> = {}, key = this.hs): string {
    return signToken(key, userClaims('ann', { caps: caps('room:*', 'sub', 'pub', 'hst', 'prs'), ...more }))
  }
}

export function caps(channel: string, ...allow: string[]): readonly unknown[] {
  return [{ channels: [channel], allow }]
}
