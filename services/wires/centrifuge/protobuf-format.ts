// The part of the Protobuf format that is needed: varints, strings, bytes and messages, by the tables of messages.ts.

import { type Field, type Message, MESSAGES } from './messages.ts'

const VARINT = 0
const FIXED_64 = 1
const BYTES = 2
const FIXED_32 = 5
/** The maximum depth of nested messages. */
const MAX_DEPTH = 16

/** The bytes are not a valid message. */
export class Malformed extends Error {}

type Value = Readonly<Record<string, unknown>>

const scalars: ReadonlySet<string> = new Set(['varint', 'int32', 'bool', 'string', 'bytes'])
const byNumber = new Map<string, Map<number, readonly [name: string, field: Field]>>(
  Object.entries(MESSAGES).map(([name, message]) => [
    name,
    new Map(Object.entries(message).map(([member, field]) => [field[0], [member, field] as const])),
  ]),
)

/** Maps are encoded as entries with a key and a value. */
function entryOf(type: string): Message {
  return { key: [1, 'string'], value: [2, type] }
}

// Writing -----------------------------------------------------------------------------------------------------

export function varint(value: number): Buffer {
  const bytes: number[] = []
  let rest = value
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80)
  bytes.push(rest)
  return Buffer.from(bytes)
}

/** The header of a field that holds bytes, a string or a message. */
export function header(number: number, length: number): Buffer {
  return Buffer.concat([varint((number << 3) | BYTES), varint(length)])
}

/** Encodes a value by the table of `type`. Members that are not in the table are omitted. */
export function write(type: string, value: Value): Buffer {
  return writeMessage(MESSAGES[type] ?? {}, value)
}

function writeMessage(message: Message, value: Value): Buffer {
  const pieces: Buffer[] = []
  for (const [name, member] of Object.entries(value)) {
    const field = Object.hasOwn(message, name) ? message[name] : undefined
    if (field === undefined || member === undefined) continue
    const [number, type, form] = field
    if (form === 'list') for (const each of member as unknown[]) pieces.push(writeMember(number, type, each))
    else if (form === 'map') {
      for (const [key, each] of Object.entries(member as object)) {
        const entry = writeMessage(entryOf(type), { key, value: each })
        pieces.push(header(number, entry.length), entry)
      }
    } else pieces.push(writeMember(number, type, member))
  }
  return Buffer.concat(pieces)
}

function writeMember(number: number, type: string, value: unknown): Buffer {
  if (type === 'varint' || type === 'int32' || type === 'bool')
    return Buffer.concat([varint(number << 3), varint(Number(value))])
  const bytes = scalars.has(type) ? Buffer.from(value as string | Buffer) : write(type, value as Value)
  return Buffer.concat([header(number, bytes.length), bytes])
}

// Reading -----------------------------------------------------------------------------------------------------

class Reader {
  readonly #bytes: Buffer
  at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  get ended(): boolean {
    return this.at >= this.#bytes.length
  }

  varint(): bigint {
    let value = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#bytes[this.at++]
      if (byte === undefined) break
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return BigInt.asUintN(64, value)
    }
    throw new Malformed('a number is truncated or too long')
  }

  bytes(): Buffer {
    const length = Number(this.varint())
    if (length > this.#bytes.length - this.at) throw new Malformed('the message is truncated')
    this.at += length
    return this.#bytes.subarray(this.at - length, this.at)
  }

  skip(wire: number): void {
    if (wire === VARINT) this.varint()
    else if (wire === BYTES) this.bytes()
    else if (wire === FIXED_64) this.at += 8
    else if (wire === FIXED_32) this.at += 4
    else throw new Malformed('a field has an unknown wire type')
    if (this.at > this.#bytes.length) throw new Malformed('the message is truncated')
  }
}

/** Successive messages, each preceded by its length. Raises Malformed. */
export function* delimited(bytes: Buffer): Generator<Buffer> {
  const reader = new Reader(bytes)
  while (!reader.ended) yield reader.bytes()
}

/** A message as an object. Fields that are not in the table are ignored. Raises Malformed. */
export function read(type: string, bytes: Buffer, depth = 0): Record<string, unknown> {
  return readMessage(number => byNumber.get(type)?.get(number), bytes, depth)
}

function readMessage(
  fieldOf: (number: number) => readonly [name: string, field: Field] | undefined,
  bytes: Buffer,
  depth: number,
): Record<string, unknown> {
  if (depth > MAX_DEPTH) throw new Malformed('messages are nested too deeply')
  const reader = new Reader(bytes)
  const value: Record<string, unknown> = {}
  while (!reader.ended) {
    const tag = Number(reader.varint())
    const [name, field] = fieldOf(tag >>> 3) ?? []
    if (name === undefined || field === undefined) reader.skip(tag & 7)
    else add(value, name, field, reader, tag & 7, depth)
  }
  return value
}

function add(
  value: Record<string, unknown>,
  name: string,
  [, type, form]: Field,
  reader: Reader,
  wire: number,
  depth: number,
): void {
  if (form === 'map') {
    const entry = entryOf(type)
    const fields = Object.entries(entry).map(([member, field]) => [member, field] as const)
    const { key = '', value: member = {} } = readMessage(
      number => fields.find(([, field]) => field[0] === number),
      reader.bytes(),
      depth + 1,
    )
    // A null prototype, because keys are client input.
    const map = (value[name] ??= Object.create(null) as object) as Record<string, unknown>
    map[String(key)] = member
    return
  }
  const member = readMember(type, reader, wire, depth)
  if (form !== 'list') value[name] = member
  else (value[name] = (value[name] as unknown[] | undefined) ?? []).push(member)
}

function readMember(type: string, reader: Reader, wire: number, depth: number): unknown {
  if (type === 'varint' || type === 'int32' || type === 'bool') {
    if (wire !== VARINT) throw new Malformed('a field has the wrong wire type: expected a number')
    const number = reader.varint()
    if (type === 'bool') return number !== 0n
    return Number(type === 'int32' ? BigInt.asIntN(32, number) : number)
  }
  if (wire !== BYTES) throw new Malformed('a field has the wrong wire type: expected bytes')
  const bytes = reader.bytes()
  if (type === 'bytes') return bytes
  return type === 'string' ? bytes.toString() : read(type, bytes, depth + 1)
}
