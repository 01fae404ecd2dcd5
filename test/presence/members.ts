// Users in a room over several nodes: which are really connected, and which the nodes report.

import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { COLLECTABLE } from '../../bench/processes/garbage.ts'
import { caps, ClosedWorld } from '../support/closed-node.ts'
import { type RunningNode, startNode } from '../support/node.ts'
import { pollAll } from '../support/poll-all.ts'

export const ROOM = 'room:1'
/** Number of connections that are opened in parallel. */
const AT_A_TIME = 50

export class Rooms {
  readonly nodes: RunningNode[] = []
  /** Open sockets by user. */
  readonly sockets = new Map<string, WebSocket>()
  /** Whether users whose connection is cut reconnect to another node. */
  comeBack = false
  /** Longest time between two connections of a user, ms. */
  readonly absences = new Map<string, number>()
  readonly #world = new ClosedWorld()
  readonly #env: Readonly<Record<string, string>>

  constructor(env: Readonly<Record<string, string>>, rules = '') {
    this.#world.writeRules(`
channels:
  - { match: "room:*", subscribe: token, presence: true }
  - { match: "open:*", subscribe: anyone, publish: anyone }
  - { match: "plain:*", subscribe: token }
${rules}`)
    const { RULES, KEYS_FILE, JWT_KEYS_FILE } = this.#world.settings
    this.#env = {
      FANWIRE_RULES: `${RULES}`,
      FANWIRE_KEYS_FILE: `${KEYS_FILE}`,
      FANWIRE_JWT_KEYS_FILE: `${JWT_KEYS_FILE}`,
      FANWIRE_DRAIN: '1s',
      ...env,
    }
  }

  /** A key with all rights. */
  get key(): string {
    return this.#world.keys.all.key
  }

  async start(more: Readonly<Record<string, string>> = {}): Promise<RunningNode> {
    const node = await startNode({ env: { ...this.#env, ...more }, flags: COLLECTABLE, built: true })
    this.nodes.push(node)
    return node
  }

  /** Removes a node: no user connects to it any more. */
  without(node: RunningNode): void {
    this.nodes.splice(this.nodes.indexOf(node), 1)
  }

  async many(node: RunningNode, name: string, count: number, channel = ROOM): Promise<void> {
    for (let at = 0; at < count; at += AT_A_TIME) {
      const portion = Array.from({ length: Math.min(AT_A_TIME, count - at) }, (_, i) => `${name}${at + i}`)
      await Promise.all(portion.map(user => this.come(node, user, channel)))
    }
  }

  async come(node: RunningNode, user: string, channel = ROOM): Promise<void> {
    const token = this.#world.token({ sub: user, info: { name: user }, caps: caps('*', 'sub') })
    const headers = { authorization: `Bearer ${token}` }
    const socket = new WebSocket(`${node.url.replace('http', 'ws')}/v1/ws?channel=${channel}`, { headers })
    socket.on('error', () => {})
    socket.once('close', () => {
      if (this.sockets.get(user) !== socket) return
      this.sockets.delete(user)
      if (this.comeBack) void this.#again(user, channel)
    })
    await once(socket, 'message')
    this.sockets.set(user, socket)
  }

  async #again(user: string, channel: string): Promise<void> {
    const from = performance.now()
    for (let turn = 0; this.comeBack && !this.sockets.has(user); turn++) {
      const node = this.nodes[turn % this.nodes.length] as RunningNode
      await this.come(node, user, channel).catch(() => sleep(100))
    }
    const away = performance.now() - from
    this.absences.set(user, Math.max(away, this.absences.get(user) ?? 0))
  }

  /** Disconnects all users. */
  leave(): void {
    this.comeBack = false
    for (const socket of this.sockets.values()) socket.terminate()
    this.sockets.clear()
  }

  async ask(path: string, node = this.nodes.at(-1) as RunningNode): Promise<Page> {
    const headers = { authorization: `Bearer ${this.key}` }
    const answer = await fetch(`${node.url}${path}`, { headers, signal: AbortSignal.timeout(10_000) })
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`)
    return (await answer.json()) as Page
  }

  /** All members, and a cursor at the head of the log of joins and leaves. */
  async members(): Promise<{ readonly users: string[]; readonly cursor: string }> {
    const users: string[] = []
    for (let after = ''; ;) {
      const path = `/v1/channels/${ROOM}/presence?limit=1000&after=${encodeURIComponent(after)}`
      const { members = [], next, cursor } = await this.ask(path)
      users.push(...members.map(({ user }) => user))
      if (next === undefined) return { users, cursor }
      after = next
    }
  }

  /** The joins and leaves after a cursor; all that exist if that cursor is lost. */
  async log(cursor: string): Promise<Change[]> {
    return pollAll<Change>(`fanwire:presence:${ROOM}`, path => this.ask(path), cursor)
  }

  async close(): Promise<void> {
    this.leave()
    await Promise.all(this.nodes.map(node => node.kill()))
  }
}

export interface Change {
  readonly type: string
  readonly data: { readonly user: string }
}

interface Page {
  readonly cursor: string
  readonly next?: string
  readonly members?: readonly { readonly user: string }[]
}

/** The number of joins of members and of leaves of non-members. `there`: the members at the start. */
export function disorderly(changes: readonly Change[], there: ReadonlySet<string>): number {
  const present = new Set(there)
  let wrong = 0
  for (const { type, data } of changes) {
    if (type === 'join') {
      if (present.has(data.user)) wrong++
      present.add(data.user)
    } else if (type === 'leave' && !present.delete(data.user)) wrong++
  }
  return wrong
}
