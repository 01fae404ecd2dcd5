// Parses every message, as most users do. What `onmessage` throws ends the connection, and the library tries again.

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
