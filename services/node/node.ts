// A node: the log, the hub, and the services of its role behind one HTTP front.

import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { Hub } from '../broker/fanout/hub.ts'
import type { Config } from '../config/config.ts'
import { createContext, type Workers } from '../http/context.ts'
import { Health } from '../http/health.ts'
import { Metrics } from '../http/metrics.ts'
import { createSendNow } from '../http/node/send-now.ts'
import { Operations } from '../http/operations.ts'
import { buildServer } from '../http/server.ts'
import { closeParts, openCluster, retentions } from './cluster.ts'
import { createAccess } from './create-access.ts'
import { createLog } from './create-log.ts'
import { ROLES } from './roles.ts'

/** Creates a node that can deliver, and does not listen yet. Raises LogUnavailable, LogRefused. */
export async function start(
  config: Config,
  logger: FastifyBaseLogger,
  workers?: Workers,
): Promise<FastifyInstance> {
  const access = await createAccess(config, logger)
  const retentionOf = retentions(access, config)
  const log = await createLog(config, retentionOf, logger)
  await log.open()
  const hub = new Hub(log, {
    ...config,
    retentionOf,
    slowOf: channel => access.ruleOf(channel).slow,
    sendNow: config.directWrites ? createSendNow() : undefined,
  })
  const health = new Health(log, logger)
  const metrics = new Metrics({ hub, health, log, access })
  const context = createContext({
    config,
    access,
    logger,
    log,
    hub,
    health,
    metrics,
    workers,
  })
  const app = buildServer(context, logger)
  if (config.metricsPort !== undefined) app.decorate('operations', new Operations(context, logger))
  if (config.otel) (await import('../http/tracing/index.ts')).trace(app)
  for (const service of ROLES[config.role]) await app.register(service)
  await app.ready()
  hub.start()
  health.start()
  try {
    await Promise.all([health.proved(2 * config.logTimeout), openCluster(context)])
  } catch (error) {
    await app.close()
    await closeParts(context)
    throw error
  }
  return app
}
