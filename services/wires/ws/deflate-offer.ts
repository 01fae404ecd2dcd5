// Negotiates permessage-deflate (RFC 7692) for the ws wire. deflate.ts compresses the node's messages, and the library
// inflates the client's, up to its maxPayload.

import type { WebSocket } from 'ws'

const NAME = 'permessage-deflate'

/** The library's options: each message is compressed separately, in both directions. */
export const DEFLATE = { serverNoContextTakeover: true, clientNoContextTakeover: true } as const

/** Parameters that a client may offer. Shared frames have a window of 15 bits, so a smaller one cannot be negotiated. */
const PARAMETERS: Readonly<Record<string, RegExp>> = {
  server_no_context_takeover: /^$/,
  client_no_context_takeover: /^$/,
  server_max_window_bits: /^="?15"?$/,
  client_max_window_bits: /^(="?([89]|1[0-5])"?)?$/,
}

/**
 * The first acceptable offer in a `Sec-WebSocket-Extensions` header, without parameters that need no answer; undefined
 * if there is none. Then nothing is negotiated, whereas the library would refuse the whole handshake.
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

/** Whether the client accepts compressed messages and may send them. */
export function isDeflated(socket: WebSocket): boolean {
  return socket.extensions.includes(NAME)
}
