// What an application was told of the log of lives, and what is wrong with it: something missing that no gap was told for,
// something out of order, a channel or a user that came twice or left twice.

import { parsePosition, type Position } from '../../../services/broker/event/position.ts'
import { livesOf } from '../../../services/broker/lives/channels.ts'

/** An event of a webhook; `wrong`: what the receiver itself found. */
export interface Told {
  readonly type: string
  readonly id: string
  readonly data: { readonly channel?: string; readonly user?: string; readonly to?: string }
  readonly wrong?: string
}

export interface LivesVerdict {
  /** Lives of the room, each once. */
  readonly told: number
  /** Of all that was told. */
  readonly repeated: number
  readonly gaps: number
}

/** What one channel of the log of lives has come to. */
interface Shard {
  last: Position
}

const WORDS: Readonly<Record<string, string>> = { 'presence.joined': 'join', 'presence.left': 'leave' }

export class Heard {
  readonly #shards = new Map<string, Shard>()
  readonly #seen = new Set<string>()
  #told: Told[] = []
  #gapped = new Set<string>()
  #repeated = 0
  #gaps = 0
  #wrong: string[] = []

  /** A case begins. */
  begin(): void {
    this.#told = []
    this.#gapped = new Set()
    this.#repeated = 0
    this.#gaps = 0
    this.#wrong = []
  }

  take(told: Told): void {
    if (told.wrong !== undefined) return void this.#wrong.push(told.wrong)
    const isGap = told.type === 'gap'
    const [, shard = '', text = ''] = /^(\d+):(.+)$/.exec(told.id) ?? []
    const at = parsePosition(text)
    if (at === undefined) return void this.#wrong.push(`${told.id} is no id`)
    const known = this.#shards.get(shard)
    const name = `${isGap ? 'gap to ' : ''}${told.id}`
    if (this.#seen.has(name) || (known?.last.epoch === at.epoch && at.offset <= known.last.offset && isGap))
      return void this.#repeated++
    this.#seen.add(name)
    const follows =
      isGap || known === undefined || (known.last.epoch === at.epoch && known.last.offset + 1 === at.offset)
    if (!follows) this.#wrong.push(`${told.id} came behind ${known.last.epoch}-${known.last.offset}`)
    this.#shards.set(shard, { last: at })
    if (isGap) {
      this.#gaps++
      this.#gapped.add(shard)
    } else this.#told.push(told)
  }

  /** `log`: `join ann`, `leave ann` and so on, as the log of joins and leaves of the room has it. */
  judge(room: string, log: readonly string[], gaps: 'none' | 'may'): LivesVerdict & { wrong: string[] } {
    const own = this.#told.filter(({ data }) => data.channel === room)
    const wrong = [...this.#wrong]
    const isGapped = this.#gapped.has(livesOf(room).replace(/^.*:/, ''))
    if (gaps === 'none' && this.#gaps > 0)
      wrong.push(`${this.#gaps} gaps of lives, although nothing was lost`)
    if (!isGapped) wrong.push(...missing(own, log, gaps === 'none'))
    return { told: own.length, repeated: this.#repeated, gaps: this.#gaps, wrong }
  }
}

/** `whole`: the log is all there ever was. */
function missing(own: readonly Told[], log: readonly string[], whole: boolean): string[] {
  const words = own.flatMap(({ type, data }) => (type in WORDS ? [`${WORDS[type]} ${data.user}`] : []))
  const part = whole ? words : words.slice(-log.length)
  const wrong: string[] = []
  if (part.join() !== log.join())
    wrong.push(`${words.length} joins and leaves were told of ${log.length}, or in another order`)
  const uses = own.flatMap(({ type }) => (type.startsWith('channel.') ? [type] : []))
  const isTwice = uses.some((type, i) => type === uses[i - 1])
  if (whole && isTwice) wrong.push('a room was occupied or vacated twice in a row')
  if (uses.at(-1) !== 'channel.vacated') wrong.push('the last word on the room is not that it is empty')
  return wrong
}
