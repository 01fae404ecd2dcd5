// The wires of an edge. A new one is its file and a line here.

import type { FastifyPluginAsync } from 'fastify'
import { longPoll } from './long-poll.ts'
import { poll } from './poll.ts'
import { push } from './push.ts'
import { refresh } from './refresh.ts'
import { socketIo } from './socket-io.ts'
import { sse } from './sse.ts'
import { httpStream } from './stream.ts'
import { ws } from './ws.ts'

export const transports: readonly FastifyPluginAsync[] = [
  poll,
  longPoll,
  sse,
  httpStream,
  ws,
  refresh,
  push,
  socketIo,
]
