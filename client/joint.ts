// A joint lets a reader at another position join a flow: it reads pages until the reader reaches the flow.

import { backoff } from './backoff.ts'
import { FanwireError } from './errors.ts'
import type { Item, Reader } from './feed.ts'
import { isKnown, positionAfter } from './feed.ts'
import { type Env, queryOf, type Source } from './link.ts'
import { pause } from './pause.ts'
import { reaches } from './position.ts'
import { askPage, deliverPage } from './wires/poll.ts'

export class Joint {
  readonly #env: Env
  readonly #about: Pick<Source, 'channel' | 'options'>
  readonly #reader: Reader
  /** Items of the flow that arrived while a page was requested; undefined if the reader is in the flow. */
  #passed: Item[] | undefined
  readonly #abort = new AbortController()

  /** `at` is the position of the flow. */
  constructor(env: Env, about: Pick<Source, 'channel' | 'options'>, reader: Reader, at: string) {
    this.#env = env
    this.#about = about
    this.#reader = reader
    if (reader.cursor === 'latest') reader.take({ at })
    else if (reader.cursor !== at) void this.#catchUp(at)
  }

  take(item: Item): void {
    if (this.#passed === undefined) this.#reader.take(item)
    else this.#passed.push(item)
  }

  close(): void {
    this.#abort.abort()
    this.#passed = []
  }

  async #catchUp(at: string): Promise<void> {
    const reader = this.#reader
    const { signal } = this.#abort
    let flow = at
    let failures = 0
    this.#passed = []
    do {
      for (const item of this.#passed.splice(0)) flow = positionAfter(item) ?? flow
      try {
        const source = sourceOf(this.#about, reader)
        const page = await askPage(this.#env, `poll?${queryOf([source])}`, signal)
        if (signal.aborted) return
        deliverPage(page, [source])
        failures = 0
      } catch (error) {
        if (signal.aborted) return
        if (error instanceof FanwireError && error.retry === undefined && error.status !== 401)
          return reader.take({ refused: error })
        const hint = error instanceof FanwireError ? (error.retry ?? 0) : 0
        await pause(backoff(failures++, hint, this.#env.timing), signal)
      }
      if (signal.aborted) return
      // A slow reader leaves the feed when it has enough items, which closes this joint.
    } while (!reaches(reader.cursor, flow))
    const passed = this.#passed
    this.#passed = undefined
    for (const item of passed) {
      if (signal.aborted) return
      if (!isKnown(reader.cursor, item)) reader.take(item)
    }
  }
}

/** A reader as the source of pages. */
function sourceOf({ channel, options }: Pick<Source, 'channel' | 'options'>, reader: Reader): Source {
  const { cursor } = reader
  const take = (item: Item) => isKnown(reader.cursor, item) || reader.take(item)
  return {
    channel,
    options,
    cursor,
    opened: at => reader.cursor !== at && take({ at }),
    event: event => void take({ event }),
    gap: gap => void take({ gap }),
    end: end => void take({ end }),
    refused: refused => void take({ refused }),
  }
}
