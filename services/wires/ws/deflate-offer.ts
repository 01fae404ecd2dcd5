// How the ws wire negotiates permessage-deflate (RFC 7692). deflate.ts compresses what is
// sent; the library inflates what comes in, up to its maxPayload.

import type { WebSocket } from 'ws'

const NAME = 'permessage-deflate'

/** The library's options: each message is compressed by itself, in either direction. */
export const DEFLATE = { serverNoContextTakeover: true, clientNoContextTakeover: true } as const

/** Parameters that a client may offer. Frames are made once, with a window of 15 bits, so a smaller one cannot be negotiated. */
const PARAMETERS: Readonly<Record<string, RegExp>> = {
  server_no_context_takeover: /^$/,
  client_no_context_takeover: /^$/,
  server_max_window_bits: /^="?15"?$/,
  client_max_window_bits: /^(="?([89]|1[0-5])"?)?$/,
}

/**
 * The first acceptable offer in a `Sec-WebSocket-Extensions` header, without parameters that need no answer. Undefined
 * if there is none: then nothing is negotiated. (The library would refuse the whole handshake.)
 */
export function offerToTake(header: string): string | undefined {
  for (const offer of header.split(',')) {
    const [name, ...parameters] = offer.split(';').map(part => part.trim())
    const names = parameters.map(each => (each.split('=', 1)[0] ?? '').trimEnd())
    const known = parameters.every((each, i) => {
      const key = names[i] ?? ''
      return (
        Object.hasOwn(PARAMETERS, key) && PARAMETERS[key]?.test(each.slice(key.length).replace(/\s/g, ''))
      )
    })
    if (name !== NAME || !known || new Set(names).size < names.length) continue
    return names.includes('server_max_window_bits') ? `${NAME}; server_max_window_bits=15` : NAME
  }
  return undefined
}

/** Whether the client takes compressed messages, and may send them. */
export function isDeflated(socket: WebSocket): boolean {
  return socket.extensions.includes(NAME)
}
