// Readers of the wires whose messages are all JSON objects.

import { LONGEST_RETRY, Reader, Refused, textOf, untilCut } from './reader.ts'

export abstract class ObjectReader extends Reader {
  /** Processes one object, as text. Returns the `retry` of a goodbye message, ms, capped at the longest honoured. */
  protected object(text: string): number | undefined {
    const object = JSON.parse(text)
    if ('channel' in object) this.event(object)
    else if ('gap' in object) this.gap(object.gap)
    else if ('open' in object) this.stands(object.open.cursor)
    else if ('close' in object) return Math.min(object.close.retry, LONGEST_RETRY)
    else throw new SyntaxError(`it received ${text}`)
    return undefined
  }
}

/** Reads `/v1/stream`. */
export class StreamReader extends ObjectReader {
  protected readonly wire: string = 'stream'

  protected override async session(): Promise<number | undefined> {
    const answer = await this.get(`/v1/${this.wire}?${this.query()}`)
    if (answer.statusCode !== 200) throw new Refused(answer.statusCode, await textOf(answer))
    let retry: number | undefined
    const lines = new Lines(line => {
      retry = this.object(line) ?? retry
    })
    await untilCut<Buffer>(answer, bytes => lines.take(bytes))
    return retry
  }
}

/** Reads `/v1/push` over HTTP/1.1, where all events are lines. */
export class PushLinesReader extends StreamReader {
  protected override readonly wire = 'push'
}

/** Splits bytes into lines. Skips empty lines, which are heartbeats. */
export class Lines {
  readonly #onLine: (line: string) => void
  readonly #decoder = new TextDecoder('utf-8', { fatal: true })
  #rest = ''

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine
  }

  take(bytes: Buffer): void {
    const lines = (this.#rest + this.#decoder.decode(bytes, { stream: true })).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) if (line !== '') this.#onLine(line)
  }
}
