// How the ws wire negotiates permessage-deflate (RFC 7692). What is sent is compressed in deflate.ts; what
// comes in is inflated by the library, up to its maxPayload.

import type { WebSocket } from 'ws'

const NAME = 'permessage-deflate'

/** The library's options: messages are compressed each by itself, in either direction. */
export const DEFLATE = { serverNoContextTakeover: true, clientNoContextTakeover: true } as const

/** Parameters that a client may offer. Frames are made once, with a window of 15 bits, so a smaller one is not to be had. */
const PARAMETERS: Readonly<Record<string, RegExp>> = {
  server_no_context_takeover: /^$/,
  client_no_context_takeover: /^$/,
  server_max_window_bits: /^="?15"?$/,
  client_max_window_bits: /^(="?([89]|1[0-5])"?)?$/,
}

/**
 * The first offer in a `Sec-WebSocket-Extensions` header that can be taken, without what need not be answered:
 * undefined where there is none, and then nothing is negotiated. (The library would refuse the whole handshake.)
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
