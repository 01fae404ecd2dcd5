// Prints commands in Redis's protocol, RESP (https://redis.io/docs/latest/develop/reference/protocol-spec/).

export type Argument = string | number | Buffer

/** A command, which is an array of bulk strings. `name` is ASCII. */
export function printCommand(name: string, args: readonly Argument[]): Buffer {
  const parts: (string | Buffer)[] = []
  let size = 0
  let text = `*${args.length + 1}\r\n$${name.length}\r\n${name}\r\n`
  for (const arg of args) {
    if (typeof arg === 'object') {
      text += `$${arg.length}\r\n`
      size += Buffer.byteLength(text) + arg.length
      parts.push(text, arg)
      text = '\r\n'
    } else {
      const word = `${arg}`
      text += `$${Buffer.byteLength(word)}\r\n${word}\r\n`
    }
  }
  parts.push(text)
  const bytes = Buffer.allocUnsafe(size + Buffer.byteLength(text))
  let at = 0
  for (const part of parts) at += typeof part === 'string' ? bytes.write(part, at) : part.copy(bytes, at)
  return bytes
}
