// Members in Redis. Each change of a channel is one script (log/redis/lua/members.lua), which also writes the channel's log
// of joins and leaves. The keys are in the slot of that log.

import { presenceOf } from '../event/names.ts'
import {
  type Count,
  type Life,
  type MemberPage,
  type MemberStore,
  type Outbox,
  type Put,
  type Renewal,
} from './store.ts'

/** The operations of the Redis log that presence needs. */
export interface MembersInRedis {
  members(channel: string, suffixes: readonly string[], args: readonly (string | number)[]): Promise<unknown>
  leases(name: string, suffixes: readonly string[], args: readonly (string | number)[]): Promise<unknown>
}

/** The slot of the leases. */
const LEASES = 'fanwire:presence'

type Text = Buffer

export class RedisMembers implements MemberStore {
  readonly #log: MembersInRedis

  constructor(log: MembersInRedis) {
    this.#log = log
  }

  async renew(lease: string, begin: boolean): Promise<Renewal> {
    const reply = await this.#leases('renew', lease, begin ? 1 : 0)
    const [held, now, leases, ended] = reply as [number, number | Text, Text[], Text[]]
    return { held: held === 1, now: Number(now), leases: leases.map(String), ended: ended.map(String) }
  }

  async end(lease: string, within: number): Promise<void> {
    await this.#leases('end', lease, within)
  }

  async attach(lease: string, channel: string): Promise<void> {
    await this.#leases('attach', lease, channel)
  }

  async detach(lease: string, channels: readonly string[]): Promise<void> {
    await this.#leases('detach', lease, ...channels)
  }

  async attached(lease: string, most: number): Promise<string[]> {
    return ((await this.#leases('attached', lease, most)) as Text[]).map(String)
  }

  async put(channel: string, { tag, until, version, changes, lives }: Put): Promise<Outbox | undefined> {
    const args = changes.flatMap(({ user, clients, who, updated }) => [user, clients, who, updated ? 1 : 0])
    const reply = await this.#members(channel, tag, 'put', tag, until, version, lives ? 1 : 0, ...args)
    const [done, outbox = []] = reply as [Text, Text[]?]
    return `${done}` === 'done' ? outbox.map(lifeOf) : undefined
  }

  async expel(channel: string, tag: string, lives: boolean): Promise<{ outbox: Outbox; more: boolean }> {
    const reply = await this.#members(channel, tag, 'expel', tag, lives ? 1 : 0)
    const [more, outbox] = reply as [number, Text[]]
    return { outbox: outbox.map(lifeOf), more: more === 1 }
  }

  async version(channel: string, tag: string): Promise<{ version: number | undefined; outbox: Outbox }> {
    const [version, outbox] = (await this.#members(channel, tag, 'version', tag)) as [Text | null, Text[]]
    return { version: version === null ? undefined : Number(version), outbox: outbox.map(lifeOf) }
  }

  async acknowledge(channel: string, key: string): Promise<Outbox> {
    return ((await this.#members(channel, '', 'acknowledge', key)) as Text[]).map(lifeOf)
  }

  async count(channel: string): Promise<Count> {
    const reply = await this.#members(channel, '', 'count')
    const [users, clients, tags] = reply as [number, number, Text[]]
    return { users, clients, tags: tags.map(String) }
  }

  async page(channel: string, after: string, limit: number): Promise<MemberPage> {
    const reply = await this.#members(channel, '', 'page', after, limit)
    const [users, clients, tags, epoch, head, more, last, members] = reply as Page
    return {
      users,
      clients,
      tags: tags.map(String),
      cursor: { epoch: `${epoch}`, offset: Number(head) },
      next: more === 1 ? `${last}` : undefined,
      members: members.flatMap(member => (member === null ? [] : [memberOf(`${member}`)])),
    }
  }

  #members(channel: string, tag: string, ...args: (string | number)[]): Promise<unknown> {
    return this.#log.members(presenceOf(channel), ['pu', 'pz', 'pa', 'po', `pe:${tag}`], args)
  }

  #leases(op: string, lease: string, ...args: (string | number)[]): Promise<unknown> {
    return this.#log.leases(LEASES, ['leases', `of:${lease}`], [op, lease, ...args])
  }
}

type Page = [number, number, Text[], Text, number | Text, number, Text, (Text | null)[]]

function lifeOf(text: Text): Life {
  const [, key = '', kind = '', who = ''] = /^(\S+) (\S+) (.*)$/s.exec(`${text}`) ?? []
  return { key, kind: kind as Life['kind'], who }
}

/** Parses `<clients> <entries> <since> <who>`. */
function memberOf(text: string): string {
  const [, since, who] = /^\d+ \d+ (\d+) (.*)$/s.exec(text) ?? []
  return `{${who},"since":${since}}`
}
