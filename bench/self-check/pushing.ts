// HTTP/2 push of the bad server: each event is a separate pushed response, announced by a line.

import type { ServerHttp2Stream } from 'node:http2'
import type { BadEvent, BadLog, Reader } from './bad-log.ts'

/** Concurrent pushes on one session: clients refuse those beyond their limit, Node's beyond 100. */
const AT_ONCE = 50

export function push(log: BadLog, query: URLSearchParams, stream: ServerHttp2Stream): void {
  let busy = false
  const give = async () => {
    if (busy) return
    busy = true
    while (reader.at < log.head && !stream.destroyed) {
      const events = log.take(reader, AT_ONCE)
      stream.write(events.map(({ id }) => `{"pushed":{"channel":"c","id":"${id}"}}\n`).join(''))
      await Promise.all(events.map(event => pushOne(stream, event)))
      await passed(stream)
    }
    busy = false
  }
  const reader: Reader = { at: log.positionOf(query.get('cursor') ?? undefined), wake: () => void give() }
  stream.on('error', () => {})
  stream.respond({ ':status': 200, 'content-type': 'application/x-ndjson' })
  stream.write(`{"open":{"cursor":"${log.cursorOf(reader.at)}"}}\n`)
  log.follow(reader, stream)
}

/** Returns when the last byte was sent, or the stream is closed. */
function pushOne(stream: ServerHttp2Stream, { id, object }: BadEvent): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.pushStream({ ':path': `/v1/channels/c/events/${id}` }, (error, pushed) => {
      if (error) return reject(error)
      pushed.on('error', () => {}).once('close', resolve)
      pushed.respond({ ':status': 200, 'content-type': 'application/json', 'content-length': object.length })
      pushed.end(object)
    })
  })
}

/** Returns when the client has received everything, or has disconnected. */
function passed({ session }: ServerHttp2Stream): Promise<void> {
  return new Promise(resolve => {
    if (session === undefined || session.destroyed || !session.ping(() => resolve())) resolve()
  })
}
