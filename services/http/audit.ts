// The line of the log that says who wanted what cannot be undone.

import type { FastifyRequest } from 'fastify'
import type { Identity } from '../broker/access/identity.ts'

/** Never a secret: the id of a key, or a user. */
function whoOf({ kind, key, user }: Identity): string {
  return kind === 'anonymous' ? 'anybody' : key === undefined ? `user ${user}` : `key ${key}`
}

/** Who did what to whom; the time is the line's own. */
export function audit({ log, identity }: FastifyRequest, what: string, target: object): void {
  log.info({ audit: true, who: whoOf(identity), what, target }, 'server control')
}
