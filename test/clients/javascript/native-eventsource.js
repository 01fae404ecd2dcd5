/* global EventSource */
import { listen, urlOf } from './sse.js'

export function follow(target, hear) {
  listen(new EventSource(urlOf(target)), hear)
}
