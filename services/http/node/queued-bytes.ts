// The written bytes of a socket that the kernel has not accepted yet. Relies on the undocumented `_handle` of a
// net.Socket or TLSSocket and its `writeQueueSize`, libuv's count, and `bytesWritten`, which includes those bytes; tried on
// Node 20, 22, 24 and 26.

import type { Socket } from 'node:net'
import type { Writable } from 'node:stream'

interface Handle {
  readonly writeQueueSize?: number
  readonly bytesWritten?: number
}

/** The queued bytes; for a stream that is not a socket, those in its own buffer. */
export function queuedBytes(sink: Writable): number {
  return handleOf(sink)?.writeQueueSize ?? sink.writableLength
}

/** How many bytes the kernel has accepted from a socket. */
export function acceptedBytes(socket: Socket): number {
  const { bytesWritten = socket.bytesWritten, writeQueueSize = socket.writableLength } =
    handleOf(socket) ?? {}
  return bytesWritten - writeQueueSize
}

function handleOf(sink: Writable): Handle | null | undefined {
  return (sink as { _handle?: Handle | null })._handle
}
