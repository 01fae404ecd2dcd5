// How a client of Centrifugo's protocol follows a channel, on Centrifugo and on fanwire.

import type { Reading } from './peer.ts'

/** A reader's first message. */
export const hello = (channel: string) =>
  `{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"${channel}","positioned":true,"recoverable":true}}`
/** A part of the answer, which contains no position that the load generator could use. */
export const SUBSCRIBED = '"id":2,"subscribe"()'

export const overWebSocket = (channel: string): Reading => ({
  wire: { kind: 'ws', hello: hello('{channel}'), cursor: SUBSCRIBED },
  path: `/connection/websocket?channel=${channel}`,
})
