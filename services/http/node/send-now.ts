// Writes bytes to a socket directly, bypassing its stream if that is empty: Node's objects for each write cost about as
// much as the rest of a delivery. libuv queues bytes that the kernel does not accept at once. It has one queue per socket,
// so later writes, direct or by the stream, follow them.
//
// Relies on: the binding `stream_wrap`; its WriteWrap, an object that goes with each write, and that Node does not keep
// if the kernel accepted all bytes at once (`streamBaseState[kLastWriteWasAsync]` is 0); a socket's `_handle`, which it
// drops when it is destroyed, and its `writeBuffer`; and that a write that fails at once has sent nothing. Tried on
// Node 20.20, 22.23, 24.21 and 26.12.

import { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import { getSystemErrorName } from 'node:util'
import type { SendNow } from '../../broker/fanout/connection.ts'

interface WriteRequest {
  /** A reference that prevents garbage collection until the bytes are written. */
  buffer?: Buffer
  /** `status`: 0, or the negative number of an error. */
  oncomplete?(status: number): void
}

interface StreamBinding {
  readonly WriteWrap: new () => WriteRequest
  readonly streamBaseState: { readonly [index: number]: number }
  readonly kLastWriteWasAsync: number
}

interface Handle {
  /** 0, or the negative number of an error. */
  writeBuffer(request: WriteRequest, bytes: Buffer): number
}

/** Returns undefined if this version of Node lacks the internals. */
export function createSendNow(): SendNow | undefined {
  const binding = streamBinding()
  if (binding === undefined) return undefined
  const { WriteWrap, streamBaseState, kLastWriteWasAsync } = binding
  let request = new WriteWrap()

  return (sink, bytes) => {
    const handle = isFree(sink) ? sink._handle : undefined
    // After an error, the caller writes the same bytes to the stream, which reports it.
    if (handle == null || handle.writeBuffer(request, bytes) !== 0) return undefined
    if (streamBaseState[kLastWriteWasAsync] === 0) return 'sent'
    request.buffer = bytes
    request.oncomplete = status => {
      if (status < 0) sink.destroy(writeError(status))
    }
    request = new WriteWrap()
    return 'waits'
  }
}

/** Whether this is a connected plain socket (not TLS) with an empty stream. */
function isFree(sink: Writable): sink is Socket & { readonly _handle?: Handle | null } {
  return (
    sink.writableLength === 0 &&
    Object.getPrototypeOf(sink) === Socket.prototype &&
    sink.writable &&
    !(sink as Socket).connecting
  )
}

function streamBinding(): StreamBinding | undefined {
  try {
    const node = process as unknown as { binding(name: string): Partial<StreamBinding> }
    // Deprecated, but there is no other way to it. A version of Node without it sends through the stream.
    const { WriteWrap, streamBaseState, kLastWriteWasAsync } = node.binding('stream_wrap')
    if (!WriteWrap || !streamBaseState || kLastWriteWasAsync === undefined) return undefined
    return { WriteWrap, streamBaseState, kLastWriteWasAsync }
  } catch {
    return undefined
  }
}

function writeError(status: number): Error {
  const code = getSystemErrorName(status)
  return Object.assign(new Error(`write ${code}`), { code, errno: status, syscall: 'write' })
}
