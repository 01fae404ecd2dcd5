// Readers of `/v1/poll` and `/v1/long-poll`.

import { Agent } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Given } from '../account.ts'
import { type ReportedGap, Reader, Refused, textOf } from './reader.ts'

/** Ms between the response to a poll and the next poll. */
const EVERY = 400
/** Ms between the response to a long poll and the next one. */
const THINK = 60

interface Page {
  readonly events: readonly Given[]
  readonly cursor: string
  readonly more?: true
  readonly gaps?: readonly ReportedGap[]
}

export class PollReader extends Reader {
  protected readonly wire: 'poll' | 'long-poll' = 'poll'
  protected readonly pause: number = EVERY
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 })
  #etag: string | undefined

  override async stop(): Promise<void> {
    await super.stop()
    this.#agent.destroy()
  }

  /** Query parameters in addition to channels and cursor. */
  protected more(): Record<string, string> {
    return {}
  }

  protected override async session(): Promise<undefined> {
    const { signal } = this
    while (!signal.aborted) {
      const headers = this.#etag === undefined ? {} : { 'if-none-match': this.#etag }
      const query = new URLSearchParams([...this.query(), ...Object.entries(this.more())])
      const answer = await this.get(`/v1/${this.wire}?${query}`, headers, this.#agent)
      const body = await textOf(answer)
      if (answer.statusCode !== 200 && answer.statusCode !== 304) {
        throw new Refused(answer.statusCode, body)
      }
      let again = false
      if (answer.statusCode === 200) {
        const { etag } = answer.headers
        this.#etag = etag
        const page = JSON.parse(body) as Page
        if (!this.hasCursor) this.stands(this.before(page.events, page.cursor))
        for (const gap of page.gaps ?? []) this.gap(gap)
        for (const event of page.events) this.event(event)
        this.stands(page.cursor)
        again = page.more === true
      }
      if (!again) await sleep(this.pause * (0.5 + Math.random()), undefined, { signal })
    }
  }
}

export class LongPollReader extends PollReader {
  protected override readonly wire = 'long-poll'
  protected override readonly pause = THINK

  protected override more() {
    // It has no cursor before the first response, so that response must not be held for long.
    return { wait: this.hasCursor ? '10' : '1' }
  }
}
