// The routes that publish events, one or many.

import type { FastifyPluginAsync } from 'fastify'
import { BODY_TIMES, type BodyTimes } from '../http/body.ts'
import { bulk } from './bulk/index.ts'
import { end } from './end.ts'
import { publish } from './one.ts'

export interface WriterOptions {
  /** How long a body that is held as a whole may take, ms. */
  readonly times?: BodyTimes
}

/** The routes read bodies, each in its own way; the plugin's scope limits this to them. */
export const writer: FastifyPluginAsync<WriterOptions> = async (app, { times = BODY_TIMES }) => {
  app.removeAllContentTypeParsers()
  // Also by name, since Fastify caches known types, and searches each time for others.
  for (const type of ['*', 'application/json', 'text/plain', 'application/octet-stream']) {
    app.addContentTypeParser(type, (_request, payload, done) => done(null, payload))
  }
  await app.register(publish, { times })
  await app.register(end, { times })
  await app.register(bulk, { times })
}
