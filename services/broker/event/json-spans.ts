// Finds the parts of a JSON text as bytes, so that data can be delivered as it was sent. It checks only the tokens
// between the parts; JSON.parse checks a part. The whole text is JSON (RFC 8259) if and only if JSON.parse accepts
// every part.

/** One member of a JSON object: its name, unescaped, and the bytes of its value, without space around them. */
export interface Member {
  readonly name: string
  readonly start: number
  readonly end: number
}

const QUOTE = 0x22
const COMMA = 0x2c
const COLON = 0x3a
const OPEN_ARRAY = 0x5b
const BACKSLASH = 0x5c
const CLOSE_ARRAY = 0x5d
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d

const BYTE_ORDER_MARK = Buffer.from('\ufeff')

/** The text without its byte order mark, if it has one (RFC 8259 section 8.1). */
export function withoutMark(text: Buffer): Buffer {
  const { length } = BYTE_ORDER_MARK
  return text[0] === BYTE_ORDER_MARK[0] && text.subarray(0, length).equals(BYTE_ORDER_MARK)
    ? text.subarray(length)
    : text
}

/** A JSON text without the space around it. */
export function trimmed(json: Buffer): Buffer {
  let end = json.length
  while (isSpace(json[end - 1])) end--
  return json.subarray(skipSpace(json, 0), end)
}

/** The members of the object that `json` is, in order, with duplicates. Raises SyntaxError. */
export function* members(json: Buffer): Generator<Member, void> {
  let at = skipSpace(json, token(json, skipSpace(json, 0), OPEN_OBJECT))
  while (json[at] !== CLOSE_OBJECT) {
    const nameEnd = skipString(json, at)
    const name = nameOf(json, at, nameEnd)
    const start = skipSpace(json, token(json, skipSpace(json, nameEnd), COLON))
    const end = skipValue(json, start)
    yield { name, start, end }
    at = next(json, end, CLOSE_OBJECT)
  }
  finish(json, at + 1)
}

/** A member's value; if there are several, the last one, as with JSON.parse. Raises SyntaxError. */
export function memberOf(json: Buffer, name: string): Buffer | undefined {
  const found = [...members(json)].findLast(member => member.name === name)
  return found && json.subarray(found.start, found.end)
}

/** The elements of the array that `json` is, in order, without space around them. Raises SyntaxError. */
export function* elements(json: Buffer): Generator<Buffer, void> {
  let at = skipSpace(json, token(json, skipSpace(json, 0), OPEN_ARRAY))
  while (json[at] !== CLOSE_ARRAY) {
    const end = skipValue(json, at)
    yield json.subarray(at, end)
    at = next(json, end, CLOSE_ARRAY)
  }
  finish(json, at + 1)
}

/** Where the next part begins after the one that ended at `end`: after a comma, or at the `close`. */
function next(json: Buffer, end: number, close: number): number {
  const at = skipSpace(json, end)
  if (json[at] === close) return at
  const part = skipSpace(json, token(json, at, COMMA))
  if (json[part] === close) throw unexpected(part)
  return part
}

function finish(json: Buffer, end: number): void {
  const at = skipSpace(json, end)
  if (at < json.length) throw unexpected(at)
}

function token(json: Buffer, at: number, byte: number): number {
  if (json[at] !== byte) throw unexpected(at)
  return at + 1
}

function unexpected(at: number): SyntaxError {
  return new SyntaxError(`not expected at byte ${at}`)
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09
}

function skipSpace(json: Buffer, from: number): number {
  let at = from
  while (isSpace(json[at])) at++
  return at
}

/** The end of the string that begins at `from`. */
function skipString(json: Buffer, from: number): number {
  let at = token(json, from, QUOTE)
  for (let byte = json[at]; byte !== QUOTE; byte = json[at]) {
    if (byte === undefined) throw unexpected(at)
    at += byte === BACKSLASH ? 2 : 1
  }
  return at + 1
}

/** The end of the value that begins at `from`. If no value begins there, some place after `from` within `json`. */
function skipValue(json: Buffer, from: number): number {
  let at = from
  let depth = 0
  for (;;) {
    const byte = json[at]
    if (byte === QUOTE) at = skipString(json, at)
    else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
      depth++
      at++
    } else if (depth > 0 && (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY)) {
      depth--
      at++
    } else if (depth > 0 && byte !== undefined) {
      at++
      continue
    } else return skipLiteral(json, at)
    if (depth === 0) return at
  }
}

/** The end of the number, `true`, `false` or `null` that begins at `from`. */
function skipLiteral(json: Buffer, from: number): number {
  let at = from
  for (let byte = json[at]; byte !== undefined && !isSpace(byte); byte = json[at]) {
    if (byte === COMMA || byte === CLOSE_ARRAY || byte === CLOSE_OBJECT) break
    at++
  }
  if (at === from) throw unexpected(at)
  return at
}

function nameOf(json: Buffer, start: number, end: number): string {
  const plain = !json.subarray(start, end).includes(BACKSLASH)
  return plain
    ? json.toString('utf8', start + 1, end - 1)
    : String(JSON.parse(json.toString('utf8', start, end)))
}
