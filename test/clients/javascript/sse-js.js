// As its README has it, with the options that it recommends.

import { SSE } from 'sse.js'
import { listen, urlOf } from './sse.js'

export function follow(target, hear) {
  listen(new SSE(urlOf(target), { autoReconnect: true }), hear)
}
