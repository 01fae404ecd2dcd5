// Parses every message, as most users do. An error thrown by `onmessage` ends the connection, and the library retries.

import './window.js'
import { fetchEventSource } from '@microsoft/fetch-event-source'
import { urlOf } from './sse.js'

export function follow(target, hear) {
  return fetchEventSource(urlOf(target), {
    onmessage(ev) {
      hear(ev.event || 'message', JSON.stringify(JSON.parse(ev.data)))
    },
  })
}
