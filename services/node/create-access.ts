// Creates the access rules from the settings.

import type { FastifyBaseLogger } from 'fastify'
import { Access } from '../broker/access/access.ts'
import type { Config } from '../config/config.ts'
import { isLoopbackHost } from '../config/kinds.ts'

/** Raises AccessRefused. */
export function createAccess(config: Config, logger: FastifyBaseLogger): Promise<Access> {
  return Access.open({
    ...config,
    open: isLoopbackHost(config.host) || config.insecure,
    retention: config.history,
    logger,
    hangUp(listener) {
      process.on('SIGHUP', listener)
      return () => process.off('SIGHUP', listener)
    },
  })
}
