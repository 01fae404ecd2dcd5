// How a process ends: a signal or a fault drains the node first, and there is a limit to how long that takes.

import closeWithGrace, { type Signals } from 'close-with-grace'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import type { Config } from '../config/config.ts'
import { drain, type DrainTimes } from './drain.ts'

/** Time beyond the draining, ms: then the process ends unconditionally. */
const STOP_WITHIN = 5000

/** A stop takes no longer than this, ms. */
export function stopsWithin({ drain, drainNotice }: Pick<Config, 'drain' | 'drainNotice'>): number {
  return drain + drainNotice + STOP_WITHIN
}

const AT_ONCE: DrainTimes = { notice: 0, spread: 0 }

/** What a process serves, once it has started. */
export interface Serving {
  app?: FastifyInstance
}

/** SIGHUP makes a node with rules reload them (create-access.ts), and does not end it. */
export function spared({ rulesFile }: Pick<Config, 'rulesFile'>): Signals[] {
  return rulesFile === undefined ? [] : ['SIGHUP']
}

/**
 * From now on a signal or a fault drains the server, if there is one, and ends the process; so does `close` of the
 * result. Signals in `skip` are left alone.
 */
export function endWithGrace(
  config: Config,
  logger: FastifyBaseLogger,
  serving: Serving,
  skip: Signals[] = [],
): { close(): void } {
  // Without a listener the system would end the process, before its rules are open and after they are closed.
  for (const signal of skip) process.on(signal, () => {})
  const times: DrainTimes = { notice: config.drainNotice, spread: config.drain }
  return closeWithGrace({ delay: stopsWithin(config), logger, skip }, async ({ signal, err }) => {
    if (err) logger.fatal({ err }, 'a fault: the process ends')
    else logger.info({ signal }, signal ? `${signal}: stopping` : 'stopping')
    if (serving.app !== undefined) await drain(serving.app, err ? AT_ONCE : times)
    if (!err) logger.info('stopped')
  })
}
