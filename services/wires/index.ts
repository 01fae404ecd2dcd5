// The wires of an edge. A new one is its folder and a line here.

import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import { centrifuge } from './centrifuge/index.ts'
import { durableStreams } from './durable-streams/index.ts'
import { longPoll } from './long-poll/index.ts'
import { poll } from './poll/index.ts'
import { push } from './push/index.ts'
import { pusher } from './pusher/index.ts'
import { refresh } from './refresh/index.ts'
import { socketIo } from './socket-io/index.ts'
import { sse } from './sse/index.ts'
import { httpStream } from './stream/index.ts'
import { ws } from './ws/index.ts'

export const transports: readonly FastifyPluginAsync[] = [
  poll,
  longPoll,
  sse,
  httpStream,
  ws,
  refresh,
  push,
  socketIo,
  durableStreams,
  centrifuge,
  pusher,
]

export async function wires(app: FastifyInstance): Promise<void> {
  for (const transport of transports) await app.register(transport)
}
