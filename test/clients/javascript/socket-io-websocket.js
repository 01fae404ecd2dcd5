import { follow as followAny } from './socket-io.js'

export function follow(target, hear) {
  followAny(target, hear, { transports: ['websocket'] })
}
