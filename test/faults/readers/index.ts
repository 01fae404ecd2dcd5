// The readers of the fault suite: one kind for each wire, more for wires with several transports, and two clients of
// other systems.

import { CentrifugeReader } from './centrifuge.ts'
import { PushLinesReader, StreamReader } from './objects.ts'
import { LongPollReader, PollReader } from './poll.ts'
import { PushReader } from './push.ts'
import { PusherReader } from './pusher.ts'
import type { Reader, ReaderOptions } from './reader.ts'
import { RefreshReader } from './refresh.ts'
import { PollingReader, SocketIoReader, UpgradingReader } from './socket-io.ts'
import { SseReader } from './sse.ts'
import { WsReader } from './ws.ts'

export interface Kind {
  readonly name: string
  /** The number of readers of this kind. */
  readonly count: number
  /** What the readers of this kind connect to. */
  readonly behind: 'load balancers' | 'edges, over HTTP/2'
  readonly Reader: new (options: ReaderOptions) => Reader
}

const behind = 'load balancers'

export const KINDS: readonly Kind[] = [
  { name: 'poll', count: 12, behind, Reader: PollReader },
  { name: 'long-poll', count: 12, behind, Reader: LongPollReader },
  { name: 'sse', count: 14, behind, Reader: SseReader },
  { name: 'stream', count: 12, behind, Reader: StreamReader },
  { name: 'ws', count: 14, behind, Reader: WsReader },
  { name: 'refresh', count: 8, behind, Reader: RefreshReader },
  { name: 'push', count: 8, behind: 'edges, over HTTP/2', Reader: PushReader },
  { name: 'push, as lines', count: 4, behind, Reader: PushLinesReader },
  { name: 'socket.io', count: 8, behind, Reader: SocketIoReader },
  { name: 'socket.io, upgraded', count: 4, behind, Reader: UpgradingReader },
  { name: 'socket.io, polling', count: 4, behind, Reader: PollingReader },
  { name: 'centrifuge-js', count: 4, behind, Reader: CentrifugeReader },
  { name: 'pusher-js', count: 4, behind, Reader: PusherReader },
]
