// The content type of a publish's body.

import type { FastifyRequest, onRequestHookHandler } from 'fastify'
import { FanwireError } from '../errors.ts'

/** A media type without parameters, in lower case. */
const BARE = /^[a-z0-9/.+-]+$/

/** The media type without parameters, in lower case; undefined if there is none. */
export function mediaType(request: FastifyRequest): string | undefined {
  const type = request.headers['content-type']
  if (type === undefined || BARE.test(type)) return type
  return type.split(';', 1)[0]?.trim().toLowerCase()
}

/**
 * An onRequest hook: raises FW_MEDIA_TYPE unless the body has one of `types`, in UTF-8 if it is text, and is not
 * compressed. `send` ends the sentence "send …".
 */
export function requireMedia(types: ReadonlySet<string>, send: string): onRequestHookHandler {
  return (request, _reply, next) => {
    const type = mediaType(request)
    if (type === undefined) throw new FanwireError('FW_MEDIA_TYPE', `no content type; send ${send}`)
    if (!types.has(type))
      throw new FanwireError('FW_MEDIA_TYPE', `this content type is not supported; send ${send}`)
    const charset = /;\s*charset\s*=\s*"?([^";\s]*)/i.exec(request.headers['content-type'] ?? '')?.[1]
    // ASCII is UTF-8.
    if (charset !== undefined && !/^(utf-?8|(us-)?ascii)$/i.test(charset)) {
      throw new FanwireError('FW_MEDIA_TYPE', 'this charset is not supported; send UTF-8')
    }
    const encoding = request.headers['content-encoding']
    if (encoding !== undefined && encoding.trim().toLowerCase() !== 'identity') {
      throw new FanwireError(
        'FW_MEDIA_TYPE',
        'compressed bodies are not supported; send it without Content-Encoding',
      )
    }
    next()
  }
}
