// How much of what was written to a socket the kernel has not taken yet. Relies on the undocumented `_handle` of a
// net.Socket or TLSSocket and its `writeQueueSize`, libuv's count; tried on Node 20, 22, 24 and 26.

import type { Writable } from 'node:stream'

/** Bytes; of a stream that is not a socket, those that it holds itself. */
export function queuedBytes(sink: Writable): number {
  const handle = (sink as { _handle?: { writeQueueSize?: number } | null })._handle
  return handle?.writeQueueSize ?? sink.writableLength
}
