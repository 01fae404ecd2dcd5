// Ends a process: a signal or a fault drains the node first, within a time limit.

import closeWithGrace from 'close-with-grace'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import type { Config } from '../config/config.ts'
import { onStop, STOP_SIGNALS, type StopSignal } from '../signals.ts'
import { drain, type DrainTimes } from './drain.ts'

/** How long after the drain the process ends unconditionally, ms. */
const STOP_WITHIN_MS = 5000

/** A stop takes no longer than this, ms. */
export function stopsWithin({ drain, drainNotice }: Pick<Config, 'drain' | 'drainNotice'>): number {
  return drain + drainNotice + STOP_WITHIN_MS
}

const AT_ONCE: DrainTimes = { notice: 0, spread: 0 }

/** The server of a process, once it has started. */
export interface Serving {
  app?: FastifyInstance
}

/** Signals that do not end the process: a node with rules reloads them on SIGHUP (create-access.ts). */
export function spared({ rulesFile }: Pick<Config, 'rulesFile'>): StopSignal[] {
  return rulesFile === undefined ? [] : ['SIGHUP']
}

interface Grace {
  /** The process ends after this time in any case, ms. */
  readonly within: number
  readonly logger: FastifyBaseLogger
  /** Signals that do not end the process. */
  readonly spare: readonly StopSignal[]
  /** Ends the process at once, with exit code 1. */
  fail(): never
}

/** The end of a process. */
export interface End {
  /** Whether a signal, a fault, or `begin` began it. */
  readonly begun: boolean
  begin(): void
}

/**
 * Makes a signal, a fault, or `begin` of the result call `stop` once, and then end the process. A second signal or fault
 * ends it at once.
 */
export function endWithGrace(
  { within, logger, spare, fail }: Grace,
  stop: (signal: StopSignal | undefined, error: Error | undefined) => Promise<void>,
): End {
  let signal: StopSignal | undefined
  const graceful = closeWithGrace({ delay: within, logger, skip: [...STOP_SIGNALS] }, async ({ err }) => {
    end.begun = true
    if (err) logger.fatal({ err }, 'a fault: the process ends')
    await stop(signal, err)
  })
  const end = {
    begun: false,
    begin() {
      if (!end.begun) graceful.close()
    },
  }
  // Without a listener the system would end the process, before its rules are open and after they are closed.
  for (const each of spare) process.on(each, () => {})
  onStop(
    STOP_SIGNALS.filter(each => !spare.includes(each)),
    first => {
      signal = first
      end.begin()
    },
    second => {
      logger.error(`second ${second}: exiting at once`)
      fail()
    },
  )
  return end
}

/** Like `endWithGrace`, for a process that serves: it drains the server, if there is one by then. */
export function drainAtEnd(
  config: Config,
  logger: FastifyBaseLogger,
  serving: Serving,
  fail: () => never,
): End {
  const times: DrainTimes = { notice: config.drainNotice, spread: config.drain }
  return endWithGrace(
    { within: stopsWithin(config), logger, spare: spared(config), fail },
    async (signal, error) => {
      if (!error) logger.info({ signal }, signal ? `${signal}: stopping` : 'stopping')
      if (serving.app !== undefined) await drain(serving.app, error ? AT_ONCE : times)
      if (!error) logger.info('stopped')
    },
  )
}
