// Releases the memory with which `ws` inflates a WebSocket's next message: 50 KiB, for a client that may never send one.
//
// Relies on: `_extensions`, where the library keeps its permessage-deflate, whose `cleanup` releases it; the next
// message creates a new one. Tried with ws 8.23.0 on Node 20.19, 20.20, 22.23, 24.21 and 26.10.

import type { WebSocket } from 'ws'

/** Must be called after a message. */
export function forgetInflater(socket: WebSocket): void {
  const { _extensions: extensions } = socket as unknown as {
    _extensions: Readonly<Record<string, { cleanup(): void }>>
  }
  extensions['permessage-deflate']?.cleanup()
}
