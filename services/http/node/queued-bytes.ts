// The written bytes of a socket that the kernel has not accepted yet. Relies on the undocumented `_handle` of a
// net.Socket or TLSSocket and its `writeQueueSize`, libuv's count; tried on Node 20, 22, 24 and 26.

import type { Writable } from 'node:stream'

/** The queued bytes; for a stream that is not a socket, those in its own buffer. */
export function queuedBytes(sink: Writable): number {
  const handle = (sink as { _handle?: { writeQueueSize?: number } | null })._handle
  return handle?.writeQueueSize ?? sink.writableLength
}
