// The request wires of the bad server.

import type { ServerResponse } from 'node:http'
import type { BadLog, Reader } from './bad-log.ts'

/** Events per response, unless the client gives a limit. */
const PAGE = 100
const SHOWN = 50

export function poll(log: BadLog, query: URLSearchParams, response: ServerResponse): void {
  answer(log, readerOf(log, query), response, Number(query.get('limit') ?? PAGE))
}

export function longPoll(log: BadLog, query: URLSearchParams, response: ServerResponse): void {
  const reader = readerOf(log, query)
  const give = () => {
    log.leave(reader)
    clearTimeout(timer)
    answer(log, reader, response, PAGE)
  }
  const timer = setTimeout(give, Number(query.get('wait') ?? 25) * 1000)
  reader.wake = () => {
    if (reader.at < log.head) give()
  }
  log.follow(reader, response)
  response.once('close', () => clearTimeout(timer))
  reader.wake()
}

function answer(log: BadLog, reader: Reader, response: ServerResponse, limit: number): void {
  const events = log.take(reader, limit).map(({ object }) => object)
  const more = reader.at < log.head ? ',"more":true' : ''
  const body = `{"events":[${events.join(',')}],"cursor":"${log.cursorOf(reader.at)}"${more}}`
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length }).end(body)
}

/** A page with the newest events, which reloads itself; those since the last load are marked. */
export function refresh(log: BadLog, query: URLSearchParams, response: ServerResponse): void {
  const reader = readerOf(log, query)
  const seen = reader.at
  const limit = Number(query.get('limit') ?? SHOWN)
  const every = query.get('every') ?? '5'
  // New events that do not fit are never shown.
  reader.at = Math.max(seen, log.head - limit)
  log.take(reader)
  const rows = log
    .events(Math.max(0, reader.at - limit), reader.at)
    .reverse()
    .map(({ at, id, data }) => {
      const [mark, word] = at > seen ? [' class="new"', '<b>new</b>'] : ['', '']
      const about = `${word}<a href="channels/c/events/${id}">${id}</a>`
      return `<li${mark}><div class="about">${about}</div><div class="data">${data.slice(1, -1)}</div></li>\n`
    })
  const again = `?channel=c&every=${every}&limit=${limit}&cursor=${log.cursorOf(reader.at)}`
  const page =
    `<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n` +
    `<meta http-equiv="refresh" content="${every}; url=${again.replaceAll('&', '&#38;')}">\n` +
    `<title>c</title>\n</head>\n<body>\n<ol>\n${rows.join('')}</ol>\n</body>\n</html>\n`
  const headers = { 'content-type': 'text/html; charset=utf-8', refresh: `${every}; url=${again}` }
  response.writeHead(200, { ...headers, 'content-length': page.length }).end(page)
}

function readerOf(log: BadLog, query: URLSearchParams): Reader {
  return { at: log.positionOf(query.get('cursor') ?? undefined), wake: () => {} }
}
