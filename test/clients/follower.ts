// One client at one target: the messages it received, and whether they are right.

import type { Message } from './program.ts'

/** The type of the nth event of a test. */
export function typeOf(n: number): string {
  return n % 2 === 0 ? 'tick' : 'message'
}

export class Follower {
  readonly name: string
  /** The numbers of the received events, in order of arrival. */
  readonly events: number[] = []
  /** Descriptions of messages that it should not have received. */
  readonly wrong: string[] = []
  readonly #channel: string

  readonly #goodbyes: boolean

  /** `goodbyes`: the library delivers goodbyes as empty messages. */
  constructor(name: string, channel: string, goodbyes: boolean) {
    this.name = name
    this.#goodbyes = goodbyes
    this.#channel = channel
  }

  hear({ type, data }: Message): void {
    const wrong = (what: string) => void this.wrong.push(`${what}: ${type} ${JSON.stringify(data)}`)
    if (data === '' && type === 'message' && this.#goodbyes) return
    if (data === '') return wrong('an empty message')
    let message
    try {
      message = JSON.parse(data)
    } catch {
      return wrong('not JSON')
    }
    if (type === 'gap') return wrong('a gap')
    if (type === 'fanwire:open') {
      if (typeof message.open?.cursor !== 'string') wrong('an opening without a cursor')
      return
    }
    const { n } = message.data ?? {}
    if (message.channel !== this.#channel || typeof n !== 'number')
      return wrong('not an event of the channel')
    if (type !== typeOf(n)) wrong(`an event whose type should be ${typeOf(n)}`)
    this.events.push(n)
  }
}
