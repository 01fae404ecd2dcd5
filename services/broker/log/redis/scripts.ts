// The scripts that run in Redis (lua/*.lua), and the names of their keys.

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { REMEMBERED_EPOCHS } from '../history.ts'
import type { Retention, RetentionOf } from '../log.ts'
import type { Argument } from './resp.ts'

export interface Script {
  readonly text: string
  /** Its SHA-1, for EVALSHA. */
  readonly sha: string
}

export interface Scripts {
  readonly append: Script
  readonly reads: Script
  readonly heads: Script
  readonly changes: Script
  /** For presence. */
  readonly members: Script
  readonly leases: Script
  readonly erase: Script
  readonly clear: Script
  readonly forget: Script
}

/** The duration of presence leases, ms. */
const LEASE_MS = 15_000
/** If no lease was renewed for longer than this, ms, the store was unavailable. */
const OUTAGE = 8000

const MINUTE = 60_000

/** How long the keys of a channel without events live, ms: anonymous readers can create many of them. */
const IDLE = 10 * MINUTE

/**
 * How long a channel without keys keeps its provisional epoch, ms. Readers that reconnect later receive a gap, since
 * events may have been appended and dropped meanwhile.
 */
const PROVISIONAL = 2 * MINUTE

/** The minimum time to live of the hash of changes, ms. Nodes use it all the time. */
const CHANGES_KEPT = 60 * MINUTE

/** The longest time between two refreshes of a followed channel's keys, ms, with a margin: see WHOLE in comparison.ts. */
const UNSEEN = 5 * MINUTE

/** `changes`: see Names; undefined for Redis Cluster. */
export function loadScripts(idempotencyWindow: number, changes: string | undefined): Scripts {
  const sharded = changes === undefined
  const constants = {
    WINDOW: idempotencyWindow,
    IDLE,
    EPOCHS: REMEMBERED_EPOCHS,
    PROVISIONAL,
    PUBLISH: sharded ? "'SPUBLISH'" : "'PUBLISH'",
    SHARDED: `${sharded}`,
    CHANGES: changes === undefined ? 'false' : `'${changes}'`,
    CHANGES_KEPT,
    APPENDED: '{}',
  }
  return {
    append: script(constants, 'append', [], 'append-quick'),
    reads: script(constants, 'reads', ['read']),
    heads: script(constants, 'heads'),
    changes: script(constants, 'changes'),
    members: script(constants, 'members', ['append', 'read']),
    leases: script({ ...constants, LEASE: LEASE_MS, OUTAGE }, 'leases'),
    erase: script(constants, 'erase'),
    clear: script(constants, 'clear'),
    forget: script(constants, 'forget'),
  }
}

/** A channel's retention as an argument of the scripts: see `retention` in channel.lua. */
export type RetentionArgument = (channel: string) => string

/** Prints retentions, each distinct one once. */
export function retentionArgument(retentionOf: RetentionOf, idempotencyWindow: number): RetentionArgument {
  const printed = new WeakMap<Retention, string>()
  return channel => {
    const retention = retentionOf(channel)
    let text = printed.get(retention)
    if (text === undefined) {
      const { events, age, bytes } = retention
      // The keys are refreshed after half of it, so the other half has to exceed the retention.
      const kept = 2 * (Math.max(age, 2 * idempotencyWindow) + UNSEEN)
      text = `${events} ${age} ${bytes} ${kept}`
      printed.set(retention, text)
    }
    return text
  }
}

/** The retention of probe channels: one event, for a minute. */
export const PROBE_RETENTION: RetentionArgument = () => `1 ${MINUTE} ${MINUTE} ${MINUTE}`

/** The arguments of EVALSHA. */
export function evalsha(script: Script, keys: readonly string[], args: readonly Argument[]): Argument[] {
  return [script.sha, keys.length, ...keys, ...args]
}

/** `uses` are scripts that this one can call as functions of `(KEYS, ARGV)`; `before` is a script that may end the call. */
function script(
  constants: Readonly<Record<string, number | string>>,
  name: string,
  uses: readonly string[] = [],
  before?: string,
): Script {
  const head = Object.entries(constants).map(([constant, value]) => `local ${constant} = ${value}`)
  const used = uses.map(each => `local function ${each}(KEYS, ARGV)\n${source(each)}\nend`)
  const early = before === undefined ? [] : [source(before)]
  const text = [...head, source('keys'), ...early, source('channel'), ...used, source(name)].join('\n')
  return { text, sha: createHash('sha1').update(text).digest('hex') }
}

function source(name: string): string {
  return readFileSync(new URL(`./lua/${name}.lua`, import.meta.url), 'utf8')
}

/** The names of a log's keys and pub/sub channels. All names of a channel are in one hash slot. */
export class Names {
  readonly #prefix: string
  readonly #feeds: string

  /** `db` is part of the names of pub/sub channels, since pub/sub ignores databases. */
  constructor(prefix: string, db: number) {
    this.#prefix = prefix
    this.#feeds = db === 0 ? prefix : `${prefix}/${db}`
  }

  keys(channel: string): [string, string, string, string] {
    // Channel names contain no braces.
    const base = `${this.#prefix}:{${channel}}:`
    return [`${base}m`, `${base}s`, `${base}i0`, `${base}i1`]
  }

  /** The hash that records changes. A cluster has none, since its slots move independently. */
  get changes(): string {
    return `${this.#prefix}:fanwire:changes`
  }

  /** A channel's bucket in the hash of changes. */
  bucket(channel: string): string {
    return createHash('sha1').update(this.keys(channel)[0]).digest('hex').slice(0, 3)
  }

  /** Additional keys of a channel, in its slot. */
  beside(channel: string, suffixes: readonly string[]): string[] {
    return suffixes.map(suffix => `${this.#prefix}:{${channel}}:${suffix}`)
  }

  /** The pub/sub channel that carries the channel's events. */
  feed(channel: string): string {
    return `${this.#feeds}:{${channel}}`
  }
}
