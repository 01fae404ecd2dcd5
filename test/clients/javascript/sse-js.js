// Used as in its README, with the recommended options.

import { SSE } from 'sse.js'
import { listen, urlOf } from './sse.js'

export function follow(target, hear) {
  listen(new SSE(urlOf(target), { autoReconnect: true }), hear)
}
