// Irreversible operations, and their audit line in the log.

import type { FastifyRequest } from 'fastify'
import type { Commands } from '../broker/control/commands.ts'
import type { Identity } from '../broker/access/identity.ts'
import type { Position } from '../broker/event/position.ts'

/** The caller's name, never a secret: the id of a key, or a user. */
function whoOf({ kind, key, user }: Identity): string {
  return kind === 'anonymous' ? 'anybody' : key === undefined ? `user ${user}` : `key ${key}`
}

/** Logs the identity, the operation and its target, whatever the level of the log, unless it is silent. */
export function audit({ log, identity }: FastifyRequest, what: string, target: object): void {
  const lines = log.level === 'silent' ? log : log.child({}, { level: 'info' })
  lines.info({ audit: true, who: whoOf(identity), what, target }, 'server control')
}

/** Sends a command to all nodes, which execute it on receipt. Raises LogUnavailable. */
export async function sendToAll<Type extends keyof Commands>(
  request: FastifyRequest,
  type: Type,
  data: Commands[Type],
): Promise<void> {
  await request.server.fanwire.control.send(type, data)
  audit(request, type, data)
}

/** Erases all events of a channel; returns its head. Raises LogUnavailable. */
export async function clear(request: FastifyRequest, channel: string): Promise<Position> {
  const head = await request.server.fanwire.eraser.clear(channel)
  audit(request, 'clear', { channel })
  return head
}
