// Settings of a node that speaks every protocol.

import { appsFile } from './pusher.ts'

export const EVERYTHING = {
  SOCKET_IO: '1',
  DURABLE_STREAMS: '1',
  CENTRIFUGE: '1',
  MERCURE: '1',
  MERCURE_SUBSCRIPTIONS: '1',
  PUSHER_APPS: appsFile(),
}
