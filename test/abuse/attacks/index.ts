// All attacks. To add one, add a file and a line here.

import type { Attack } from '../attack.ts'
import { everyChannel, idleChannels, newChannels } from './channels.ts'
import { deflateAfterError } from './deflate-after-error.ts'
import { extensionSpaces, longPaths } from './extension-spaces.ts'
import { encodedMetrics, foreignHost } from './foreign-names.ts'
import { http2Streams } from './http2-streams.ts'
import { largePages } from './large-pages.ts'
import { madeUpChannels } from './made-up-channels.ts'
import { malformedFrames } from './malformed-frames.ts'
import { pipelinedPolls } from './pipelined-polls.ts'
import { fullSpeed, fullSpeedRedis, idempotencyKeys } from './publishers.ts'
import { rapidReset } from './rapid-reset.ts'
import { refusedHandshakes } from './refused-handshakes.ts'
import { brokenLines, http2Requests, pipelinedRequests, socketIoPackets } from './request-floods.ts'
import { halfClosed, silentConnections, slowBodies, slowHeads, unreadStreams } from './slow-clients.ts'
import { smallHeap } from './small-heap.ts'
import { tlsHandshakes } from './tls-handshakes.ts'
import { malformedTexts, pings, subscriptions, unknownCursors } from './ws-floods.ts'
import { zipBombs } from './zip-bombs.ts'

export const attacks: readonly Attack[] = [
  refusedHandshakes,
  malformedFrames,
  madeUpChannels,
  foreignHost,
  deflateAfterError,
  pipelinedPolls,
  http2Streams,
  extensionSpaces,
  longPaths,
  pings,
  malformedTexts,
  subscriptions,
  unknownCursors,
  socketIoPackets,
  pipelinedRequests,
  http2Requests,
  brokenLines,
  newChannels,
  everyChannel,
  largePages,
  rapidReset,
  encodedMetrics,
  silentConnections,
  halfClosed,
  unreadStreams,
  slowHeads,
  slowBodies,
  idempotencyKeys,
  fullSpeed,
  fullSpeedRedis,
  idleChannels,
  zipBombs,
  tlsHandshakes,
  smallHeap,
]
