// The wires of an edge. A new wire is a folder and a line here.

import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import { centrifuge } from './centrifuge/index.ts'
import { durableStreams } from './durable-streams/index.ts'
import { longPoll } from './long-poll/index.ts'
import { mercure } from './mercure/index.ts'
import { poll } from './poll/index.ts'
import { push } from './push/index.ts'
import { pusher } from './pusher/index.ts'
import { refresh } from './refresh/index.ts'
import { socketIo } from './socket-io/index.ts'
import { sse } from './sse/index.ts'
import { httpStream } from './stream/index.ts'
import { ws } from './ws/index.ts'

/** The wires, by their names in metrics and hooks. */
export const WIRES: Readonly<Record<string, FastifyPluginAsync>> = {
  poll,
  'long-poll': longPoll,
  sse,
  stream: httpStream,
  ws,
  refresh,
  push,
  'socket.io': socketIo,
  'durable-streams': durableStreams,
  centrifuge,
  pusher,
  mercure,
}

export async function wires(app: FastifyInstance): Promise<void> {
  for (const [wire, routes] of Object.entries(WIRES)) {
    await app.register(async scope => {
      scope.addHook('onRoute', route => {
        route.config = { ...route.config, wire }
      })
      await scope.register(routes)
    })
  }
}
