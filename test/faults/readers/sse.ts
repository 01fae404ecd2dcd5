// A reader of `/v1/sse`.

import { SseParser } from '../../contract/clients.ts'
import { LONGEST_RETRY, Reader, Refused, textOf, untilCut } from './reader.ts'

export class SseReader extends Reader {
  protected override async session(): Promise<number | undefined> {
    let isOpen = false
    const parser = new SseParser(({ event, data, lastEventId }) => {
      const object = JSON.parse(data)
      if (isOpen !== (event !== 'fanwire:open')) throw new SyntaxError(`${event} came, open: ${isOpen}`)
      isOpen = true
      if (event === 'gap') this.gap(object)
      else if (event !== 'fanwire:open') this.event(object)
      this.stands(lastEventId)
    })
    const answer = await this.get(`/v1/sse?${this.query()}`, { accept: 'text/event-stream' })
    if (answer.statusCode !== 200) throw new Refused(answer.statusCode, await textOf(answer))
    await untilCut<Buffer>(answer, bytes => parser.write(bytes))
    const retry = parser.retries.at(-1)
    return retry === undefined ? undefined : Math.min(retry, LONGEST_RETRY)
  }
}
