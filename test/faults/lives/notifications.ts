// The judge of the webhooks that an application received: finds joins and leaves that are missing without a gap or out
// of order, and rooms that are occupied or vacated twice in a row.

import { parsePosition, type Position } from '../../../services/broker/event/position.ts'
import { livesOf } from '../../../services/broker/lives/channels.ts'

/** A webhook event; `wrong`: a fault that the receiver found, as text. */
export interface Notification {
  readonly type: string
  readonly id: string
  readonly data: { readonly channel?: string; readonly user?: string; readonly to?: string }
  readonly wrong?: string
}

export interface LivesVerdict {
  /** Joins and leaves of the room, without duplicates. */
  readonly received: number
  /** Duplicate events of all rooms. */
  readonly repeated: number
  readonly gaps: number
}

/** The position of one channel of the log of lives. */
interface Shard {
  last: Position
}

const WORDS: Readonly<Record<string, string>> = { 'presence.joined': 'join', 'presence.left': 'leave' }

export class Notifications {
  readonly #shards = new Map<string, Shard>()
  readonly #seen = new Set<string>()
  #told: Notification[] = []
  #gapped = new Set<string>()
  #repeated = 0
  #gaps = 0
  #wrong: string[] = []

  /** Starts a case: forgets the findings of the previous one, but not the positions. */
  begin(): void {
    this.#told = []
    this.#gapped = new Set()
    this.#repeated = 0
    this.#gaps = 0
    this.#wrong = []
  }

  take(told: Notification): void {
    if (told.wrong !== undefined) return void this.#wrong.push(told.wrong)
    const isGap = told.type === 'gap'
    const [, shard = '', text = ''] = /^(\d+):(.+)$/.exec(told.id) ?? []
    const at = parsePosition(text)
    if (at === undefined) return void this.#wrong.push(`${told.id} is not an id`)
    const known = this.#shards.get(shard)
    const name = `${isGap ? 'gap to ' : ''}${told.id}`
    if (this.#seen.has(name) || (known?.last.epoch === at.epoch && at.offset <= known.last.offset && isGap)) {
      // A node that takes over sending begins at an earlier position, maybe in another epoch. The next event must
      // follow that position.
      if (isGap && known?.last.epoch !== at.epoch) this.#shards.set(shard, { last: at })
      return void this.#repeated++
    }
    this.#seen.add(name)
    const follows =
      isGap || known === undefined || (known.last.epoch === at.epoch && known.last.offset + 1 === at.offset)
    if (!follows) this.#wrong.push(`${told.id} came after ${known.last.epoch}-${known.last.offset}`)
    this.#shards.set(shard, { last: at })
    if (isGap) {
      this.#gaps++
      this.#gapped.add(shard)
    } else this.#told.push(told)
  }

  /** `log`: `join ann`, `leave ann` and so on, as in the log of joins and leaves of the room. */
  judge(room: string, log: readonly string[], gaps: 'none' | 'may'): LivesVerdict & { wrong: string[] } {
    const own = this.#told.filter(({ data }) => data.channel === room)
    const wrong = [...this.#wrong]
    const isGapped = this.#gapped.has(livesOf(room).replace(/^.*:/, ''))
    if (gaps === 'none' && this.#gaps > 0)
      wrong.push(`${this.#gaps} gaps of lives, although nothing was lost`)
    if (!isGapped) wrong.push(...missing(own, log, gaps === 'none'))
    return { received: own.length, repeated: this.#repeated, gaps: this.#gaps, wrong }
  }
}

/** `whole`: the log has every join and leave of the room. */
function missing(own: readonly Notification[], log: readonly string[], whole: boolean): string[] {
  const words = own.flatMap(({ type, data }) => (type in WORDS ? [`${WORDS[type]} ${data.user}`] : []))
  const part = whole ? words : words.slice(-log.length)
  const wrong: string[] = []
  if (part.join() !== log.join())
    wrong.push(`${words.length} of ${log.length} joins and leaves were received, or in another order`)
  const uses = own.flatMap(({ type }) => (type.startsWith('channel.') ? [type] : []))
  const isTwice = uses.some((type, i) => type === uses[i - 1])
  if (whole && isTwice) wrong.push('a room was occupied or vacated twice in a row')
  if (uses.at(-1) !== 'channel.vacated') wrong.push('the last event of the room is not channel.vacated')
  return wrong
}
