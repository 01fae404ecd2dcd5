// Used as in its README.

import './window.js'
import { fetchEventSource } from '@microsoft/fetch-event-source'
import { urlOf } from './sse.js'

export function follow(target, hear) {
  return fetchEventSource(urlOf(target), {
    onmessage(ev) {
      hear(ev.event || 'message', ev.data)
    },
  })
}
