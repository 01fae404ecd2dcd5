// Reads the body of a response that does not end: sse and stream.

import { ask, deliver, type Fault, faultOfCode, type Message, type OpenLink, queryOf } from '../link.ts'
import { openRequests } from './requests.ts'

/** Returns the message of a line, if it completes one. A cut line has none. */
type Parser = (line: string) => Message | undefined

const parseNdjson: Parser = line => (line === '' ? undefined : (JSON.parse(line) as Message))

/** Parses server-sent events (WHATWG HTML section 9.2.6), as far as nodes use them. */
function sseParser(): Parser {
  let name = ''
  let data = ''
  let retry = 0
  return line => {
    const [, field = 'none', value = ''] = /^(\w*): ?(.*)$/s.exec(line) ?? []
    if (field === 'event') name = value
    else if (field === 'data') data += value
    else if (field === 'retry') retry = Number(value)
    else if (field === '' && value) {
      // The last message: a close code, or the code of a temporary error.
      const [code = '', ...reason] = value.split(' ')
      return { close: { code: Number(code) || 1013, reason: reason.join(' ') || code, retry } }
    } else if (line === '' && data) {
      const message = JSON.parse(data) as Message
      const kind = name
      name = data = ''
      if (kind === 'gap') return { gap: message } as Message
      return kind === 'fanwire:passed' ? ({ passed: message } as Message) : message
    }
    return undefined
  }
}

export const openBody: OpenLink = (env, events, wire) =>
  openRequests(env, events, wire, async (sources, signal, link) => {
    const { timing } = env
    const parse = wire === 'sse' ? sseParser() : parseNdjson
    const response = await ask(env, `/v1/${wire}?${queryOf(sources)}`, { signal })
    const reader = (response.body as ReadableStream<Uint8Array>).getReader()
    const decoder = new TextDecoder()
    let rest = ''
    let fault: Fault | undefined
    for (let begun = false; ;) {
      const { done, value } = await reader.read()
      if (signal.aborted) return
      if (done) return link.down(fault ?? { why: 'the response ended' })
      if (begun) link.expect(timing.silence)
      const lines = (rest + decoder.decode(value, { stream: true })).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        const message = parse(line)
        if (message?.close) fault = faultOfCode(message.close.code, message.close.reason, message.close.retry)
        else if (message?.open) {
          begun = true
          link.expect(timing.silence)
          message.open.cursor.split(',').forEach((cursor, i) => sources[i]?.opened(cursor))
          link.opened()
        } else if (message) deliver(message, channel => sources.find(each => each.channel === channel))
        // A listener may have left a channel, or closed the client.
        if (signal.aborted) return
      }
      if (fault) return link.down(fault)
    }
  })
