// Memory for the bytes of events. Node's pool of Buffers is shared with everything else: an event that is retained for
// long would keep 8 KiB there, the rest of which is garbage. Here, events have only other events and their forms beside
// them.

const SLAB_BYTES = 8192

let slab = Buffer.allocUnsafeSlow(SLAB_BYTES).buffer
let used = 0

/** A Buffer of `length` bytes that are not initialized, for an event that may be retained. */
export function allocateRetained(length: number): Buffer {
  if (length > SLAB_BYTES / 2) return Buffer.allocUnsafeSlow(length)
  if (used + length > SLAB_BYTES) {
    slab = Buffer.allocUnsafeSlow(SLAB_BYTES).buffer
    used = 0
  }
  const bytes = Buffer.from(slab, used, length)
  used += length
  return bytes
}

/** A copy of `parts`, one after the other, that may be retained with an event. */
export function concatRetained(parts: readonly Uint8Array[]): Buffer {
  const bytes = allocateRetained(parts.reduce((length, part) => length + part.length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}
