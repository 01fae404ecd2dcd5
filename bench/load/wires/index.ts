// A client for each wire.

import type { WireName } from '../order.ts'
import { AskingFollower } from './asking.ts'
import type { Follower, Part } from './follower.ts'
import { PushFollower } from './push.ts'
import { StreamFollower } from './streams.ts'

export function followerOf(wire: WireName, part: Part): Follower {
  switch (wire) {
    case 'poll':
    case 'long-poll':
    case 'refresh':
      return new AskingFollower(part, wire)
    case 'push':
      return new PushFollower(part)
    case 'sse':
    case 'stream':
    case 'ws':
    case 'socket.io':
      return new StreamFollower(part, wire)
  }
}
