// Claims about transports, and the rule by which the measurements judge each.

import type { CellResult } from '../result.ts'
import { batchingDelays, batchingTames, longPollIsPrompt, longPollLoads } from './claims-long-polling.ts'
import { pollBatches, pollIsSteady, pollWastes, refreshLoads } from './claims-polling.ts'
import { pushIsFaster, socketIoIsFree, streamsKeepUp, webSocketIsFastest } from './claims-streaming.ts'
import type { Evidence } from './evidence.ts'

export interface Claim {
  readonly technique: string
  readonly claim: string
  readonly judge: (cells: readonly CellResult[]) => Evidence
}

export const CLAIMS: readonly Claim[] = [
  { technique: 'auto-refresh', claim: 'loads both sides', judge: refreshLoads },
  { technique: 'short polling', claim: 'waste when nothing happened', judge: pollWastes },
  { technique: 'short polling', claim: 'steady, predictable load', judge: pollIsSteady },
  { technique: 'short polling', claim: 'natural batching', judge: pollBatches },
  { technique: 'long polling', claim: 'close to real time over plain HTTP', judge: longPollIsPrompt },
  {
    technique: 'long polling',
    claim: 'under frequent events it loads the network more than short polling',
    judge: longPollLoads,
  },
  {
    technique: 'batching for long polling',
    claim: 'tames long polling under frequent events',
    judge: batchingTames,
  },
  { technique: 'batching for long polling', claim: 'its cost is delay', judge: batchingDelays },
  {
    technique: 'SSE, HTTP streaming',
    claim: 'good for prices and live comments: no slower than WebSocket',
    judge: streamsKeepUp,
  },
  {
    technique: 'WebSocket',
    claim: 'lowest delay',
    judge: webSocketIsFastest,
  },
  {
    technique: 'Socket.IO',
    claim: 'the usual choice, and no cost is named: none beyond WebSocket',
    judge: socketIoIsFree,
  },
  {
    technique: 'HTTP/2 server push',
    claim: 'faster delivery',
    judge: pushIsFaster,
  },
]
