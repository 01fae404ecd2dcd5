// Runs a node process: alone, as the primary of several workers, or as one of the workers.

import cluster from 'node:cluster'
import type { FastifyBaseLogger } from 'fastify'
import type { Config } from '../config/config.ts'
import { VERSION } from '../config/version.ts'
import { explain } from './explain.ts'
import { listen } from './listen.ts'
import { createLogger } from './logger.ts'
import { start } from './node.ts'
import { drainAtEnd, type Serving } from './stop.ts'
import { StartFailed, supervise } from './workers/primary.ts'
import { work } from './workers/worker.ts'

/** The first commands to paste, shown on a terminal. */
function welcome(address: string, config: Config): string {
  const url = address.replace('//0.0.0.0:', '//127.0.0.1:').replace('//[::]:', '//[::1]:')
  const key = config.publishKeys.length === 0 ? '' : ` -H 'Authorization: Bearer <key>'`
  return [
    '',
    `  fanwire ${VERSION} on ${url}`,
    '',
    ...(config.role === 'writer' ? [] : [`  follow:   curl -N '${url}/v1/sse?channel=news'`]),
    ...(config.role === 'edge'
      ? []
      : [
          `  publish:  curl${key} -H 'Content-Type: application/json' -d '{"hello":"world"}' ${url}/v1/channels/news/events`,
        ]),
    '',
    '',
  ].join('\n')
}

/** The place of the log. */
function logOf({ redisUrl, data }: Config): { log: string; data?: string; hint?: string } {
  if (redisUrl !== undefined) return { log: 'redis' }
  if (data !== undefined) return { log: 'file', data }
  return { log: 'memory', hint: 'a restart forgets the log; FANWIRE_DATA=./data keeps it in that folder' }
}

/** Runs a single process. Returns its address once it is ready. */
async function serve(config: Config, logger: FastifyBaseLogger, fail: () => never): Promise<string> {
  const serving: Serving = {}
  drainAtEnd(config, logger, serving, fail)
  serving.app = await start(config, logger)
  return await listen(serving.app, config)
}

/** Returns when the node listens. `fail` ends the process with the error, if it was not logged already. */
export async function run(config: Config, fail: (message?: string) => never): Promise<void> {
  const alone = config.workers === 1
  if (!alone && cluster.worker !== undefined) return work(config, cluster.worker, fail)
  const logger = await createLogger(config)
  // Nothing else may keep the process alive while it waits for the log.
  const awake = setInterval(() => {}, 60_000)
  try {
    const address = await (alone ? serve : supervise)(config, logger, fail)
    const about = { address, role: config.role, ...logOf(config) }
    if (alone) logger.info(about, `listening on ${address}`)
    else
      logger.info(
        { ...about, workers: config.workers },
        `listening on ${address} with ${config.workers} workers`,
      )
    if (process.stdout.isTTY) process.stdout.write(welcome(address, config))
  } catch (error) {
    fail(error instanceof StartFailed ? error.message : explain(error, config))
  } finally {
    clearInterval(awake)
  }
}
