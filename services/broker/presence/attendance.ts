// The channels in which a connected client is a member.

import type { Identity } from '../access/identity.ts'
import type { ChannelWatcher } from '../fanout/connection.ts'

/** The part of a connection that presence needs. */
export interface Attending {
  watcher: ChannelWatcher | undefined
}

interface Rooms {
  enter(channel: string, user: string, who: string): boolean
  leave(channel: string, user: string): void
}

export class Attendance implements ChannelWatcher {
  readonly #rooms: Rooms
  #identity: Identity
  readonly #channels = new Set<string>()

  constructor(rooms: Rooms, identity: Identity) {
    this.#rooms = rooms
    this.#identity = identity
  }

  joined(channel: string): void {
    const { user, kind, info } = this.#identity
    // Servers are not members.
    if (kind === 'key') return
    if (this.#rooms.enter(channel, user, whoOf(user, info))) this.#channels.add(channel)
  }

  left(channel: string): void {
    if (this.#channels.delete(channel)) this.#rooms.leave(channel, this.#identity.user)
  }

  /** Called when its user, or the user's info, has changed. */
  identify(identity: Identity): void {
    const before = this.#identity
    this.#identity = identity
    for (const channel of [...this.#channels]) {
      this.#channels.delete(channel)
      this.joined(channel)
      this.#rooms.leave(channel, before.user)
    }
  }
}

/** The public data of a user, as members of a JSON object. */
export function whoOf(user: string, info: unknown): string {
  const name = `"user":${JSON.stringify(user)}`
  return info === undefined ? name : `${name},"info":${JSON.stringify(info)}`
}
