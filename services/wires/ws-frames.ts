// WebSocket frames as a server sends them (RFC 6455 section 5.2): unmasked and unfragmented.

/** The opcode of a text message. */
export const TEXT = 0x1
/** The opcode of a binary message. */
export const BINARY = 0x2
/** The opcode of a ping. */
export const PING = 0x9

/** A text message. */
export function wsText(text: string): Buffer {
  return wsFrame(TEXT, Buffer.from(text))
}

/** A frame, in memory from `allocate`. */
export function wsFrame(
  opcode: number,
  payload: Uint8Array,
  allocate: (length: number) => Buffer = Buffer.allocUnsafe,
): Buffer {
  const bytes = allocate(wsHeaderSize(payload.length) + payload.length)
  bytes.set(payload, writeWsHeader(bytes, 0, opcode, payload.length))
  return bytes
}

/** The bytes of the header for a payload of that length. */
export function wsHeaderSize(length: number): number {
  return length < 126 ? 2 : length < 65536 ? 4 : 10
}

/** Writes the header of a frame at `at`; returns where its payload begins. */
export function writeWsHeader(bytes: Buffer, at: number, opcode: number, length: number): number {
  bytes[at] = 0x80 | opcode
  if (length < 126) {
    bytes[at + 1] = length
    return at + 2
  }
  if (length < 65536) {
    bytes[at + 1] = 126
    return bytes.writeUInt16BE(length, at + 2)
  }
  bytes[at + 1] = 127
  return bytes.writeBigUInt64BE(BigInt(length), at + 2)
}
