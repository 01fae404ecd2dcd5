// Executes other nodes' commands, and closes the parts of a node.

import type { Access } from '../broker/access/access.ts'
import { LONGEST_TICKET_MS, reservedRetention } from '../broker/control/channels.ts'
import { LogUnavailable, type RetentionOf } from '../broker/log/log.ts'
import type { Config } from '../config/config.ts'
import { DISCONNECTED } from '../http/clients.ts'
import type { Context } from '../http/context.ts'

/** The retention of each channel: reserved ones, and clients' channels by their rules. */
export function retentions(access: Access, { idempotencyWindow }: Config): RetentionOf {
  const reserved = reservedRetention({ ticketLife: Math.min(LONGEST_TICKET_MS, idempotencyWindow) })
  return channel => reserved(channel) ?? access.retentionOf(channel)
}

/**
 * Follows the other nodes, and announces this one. Raises LogUnavailable if the stored commands, which include
 * revocations, can't be read in time.
 */
export async function openCluster(context: Context): Promise<void> {
  const { access, clients, config, control, nodes, presence, questions, usage } = context
  control
    .on('revoke', ({ user, before, until }) => access.revoke(user, before, until))
    .on('disconnect', ({ user, client }, { past }) => {
      // A command from before this node listened does not concern its current connections.
      if (!past) clients.end(user, DISCONNECTED, each => client === undefined || each.id === client)
    })
    .on('unsubscribe', ({ user, channel }, { past }) => {
      if (!past) clients.unsubscribe(user, channel)
    })
  access.on('rules', () => {
    void usage.open()
    presence.open()
  })
  presence.open()
  const [loaded] = await Promise.all([
    control.open(2 * config.logTimeout),
    nodes.open(),
    questions.open(),
    usage.open(),
  ])
  if (!loaded) throw new LogUnavailable('the stored commands could not be read in time', 'silent')
}

/** Closes everything but the server. */
export async function closeParts(context: Context): Promise<void> {
  const { health, clients, access, hub, log, control, lives, presence, questions, nodes, usage } = context
  health.close()
  clients.close()
  access.close()
  control.close()
  questions.close()
  usage.close()
  await Promise.all([nodes.close(), presence.close()])
  lives.close()
  hub.close()
  await log.close()
}
