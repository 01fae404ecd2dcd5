import polyfill from 'event-source-polyfill'
import { listen, urlOf } from './sse.js'

export function follow(target, hear) {
  listen(new polyfill.EventSourcePolyfill(urlOf(target)), hear)
}
