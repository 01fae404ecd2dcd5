// API keys, with which servers authenticate. The file has only their hashes.

import { hash, randomBytes } from 'node:crypto'
import { isObject } from '../event/json-values.ts'
import { quote } from '../../errors.ts'
import { BadFileError, readJson } from '../files/bad-file.ts'
import { grant, readKeyRights, readPatterns, type Right } from './grants.ts'
import { ANONYMOUS, type Identity, secondsOf } from './identity.ts'

/** An entry of the keys file, checked. */
export interface ApiKeyEntry {
  readonly id: string
  /** Hexadecimal, in lower case. */
  readonly sha256: string
  readonly allow: readonly Right[]
  readonly channels: readonly string[]
  /** When the key expires, ms since 1970. */
  readonly until: number | undefined
}

export type KeyResult =
  | { readonly ok: true; readonly identity: Identity }
  | { readonly ok: false; readonly reason: 'unknown' | 'expired' }

export interface ApiKeys {
  /** The number of keys. */
  readonly size: number
  /** The owner of a key. Takes the same time for any input. */
  find(presented: string, now?: number): KeyResult
  /** Whether a key is still in the list, unchanged (`Identity.signer`). */
  has(signer: string): boolean
}

const MEMBERS = ['id', 'sha256', 'allow', 'channels', 'until']
const ID = /^[A-Za-z0-9_.@-]{1,64}$/
const DIGEST = /^[0-9a-f]{64}$/i
/** RFC 3339, with a zone, since local times could differ between nodes. */
const TIME = /^\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d))?$/

const UNKNOWN: KeyResult = { ok: false, reason: 'unknown' }
const EXPIRED: KeyResult = { ok: false, reason: 'expired' }

/** Parses the keys file. Raises a `BadFileError` that names entry and member. */
export function parseKeysFile(text: string): ApiKeyEntry[] {
  const entries = readJson(text)
  if (!Array.isArray(entries)) throw new BadFileError('the file is not a list of keys')
  const read = entries.map((entry, index) => readEntry(`[${index}]`, entry))
  for (const member of ['id', 'sha256'] as const) {
    const first = new Map<string, number>()
    for (const [index, { [member]: value }] of read.entries()) {
      const before = first.get(value)
      if (before !== undefined) throw new BadFileError(`[${index}].${member}: [${before}] has the same`)
      first.set(value, index)
    }
  }
  return read
}

function readEntry(name: string, entry: unknown): ApiKeyEntry {
  if (!isObject(entry)) {
    throw new BadFileError(`${name}: is not an object`)
  }
  const unknown = Object.keys(entry).find(member => !MEMBERS.includes(member))
  if (unknown !== undefined) {
    throw new BadFileError(`${name}.${unknown}: unknown member; a key has ${MEMBERS.join(', ')}`)
  }
  const { id, sha256, allow, channels, until } = entry
  if (typeof id !== 'string' || !ID.test(id)) {
    throw new BadFileError(`${name}.id: is not 1 to 64 letters, digits or _ . @ -`)
  }
  if (typeof sha256 !== 'string' || !DIGEST.test(sha256)) {
    throw new BadFileError(`${name}.sha256: is not 64 hexadecimal digits`)
  }
  return {
    id,
    sha256: sha256.toLowerCase(),
    allow: someOf(`${name}.allow`, readKeyRights(`${name}.allow`, allow)),
    channels: someOf(`${name}.channels`, readPatterns(`${name}.channels`, channels)),
    until: until === undefined ? undefined : readTime(`${name}.until`, until),
  }
}

function someOf<T>(name: string, read: readonly T[] | string): readonly T[] {
  if (typeof read === 'string') throw new BadFileError(read)
  if (read.length === 0) throw new BadFileError(`${name}: is empty, so the key could do nothing`)
  return read
}

function readTime(name: string, value: unknown): number {
  const time = typeof value === 'string' && TIME.test(value) ? Date.parse(value) : NaN
  if (Number.isNaN(time)) {
    throw new BadFileError(
      `${name}: ${quote(value)} is not a time such as "2027-01-31" or "2027-01-31T12:00:00Z"`,
    )
  }
  return time
}

/** The keys of the file, and those of FANWIRE_PUBLISH_KEY, which may publish to all channels. */
export function createApiKeys(entries: readonly ApiKeyEntry[], publishKeys: readonly string[] = []): ApiKeys {
  // Digests are salted, so a client can't choose the table entry with which its key is compared. The duration reveals
  // nothing about the digests, and is the same for any number of keys.
  const salt = randomBytes(32).toString('hex')
  const slotOf = (digest: string) => hash('sha256', salt + digest, 'base64url')
  const owners = new Map<string, Identity>()
  for (const [index, key] of publishKeys.entries()) {
    const sha256 = digestOf(key)
    const id = `publish-key-${index + 1}`
    const identity = keyIdentity({ id, sha256, allow: ['publish'], channels: ['*'], until: undefined })
    // The index in the list changes when keys are rotated.
    owners.set(slotOf(sha256), { ...identity, scope: sha256 })
  }
  for (const entry of entries) owners.set(slotOf(entry.sha256), keyIdentity(entry))
  const signers = new Set([...owners.values()].map(({ signer }) => signer))
  return {
    size: owners.size,
    find: (presented, now = Date.now()) => {
      const identity = owners.get(slotOf(digestOf(presented)))
      if (identity === undefined) return UNKNOWN
      if (identity.expiresAt !== undefined && now >= identity.expiresAt * 1000) return EXPIRED
      return { ok: true, identity }
    },
    has: signer => signers.has(signer),
  }
}

function keyIdentity({ id, sha256, allow, channels, until }: ApiKeyEntry): Identity {
  return {
    ...ANONYMOUS,
    kind: 'key',
    key: id,
    // Another hash for each change of the entry, so that connections of the earlier one end.
    signer: hash('sha256', JSON.stringify([id, sha256, allow, channels, until]), 'base64url'),
    expiresAt: secondsOf(until),
    connectionEndsAt: secondsOf(until),
    grants: [{ source: 'key', list: [grant(`key ${id}`, channels, allow)] }],
  }
}

function digestOf(key: string): string {
  return hash('sha256', key, 'hex')
}

/** A new key: its text, which its owner sees once, and its entry for the file. */
export function makeApiKey(
  id: string,
  allow: readonly Right[],
  channels: readonly string[],
  until?: string,
): { key: string; entry: Record<string, unknown> } {
  const key = `fw_${randomBytes(32).toString('base64url')}`
  const entry = { id, sha256: digestOf(key), allow, channels, ...(until === undefined ? {} : { until }) }
  readEntry('key', entry)
  return { key, entry }
}
