// One of several processes that serve as one. It starts when the primary forks it, and stops when the primary asks it to,
// or is gone.

import type { Worker } from 'node:cluster'
import type { Config } from '../../config/config.ts'
import { explain } from '../explain.ts'
import { listen } from '../listen.ts'
import { createLogger } from '../logger.ts'
import { start } from '../node.ts'
import { drainAtEnd, type Serving } from '../stop.ts'
import { Dialogue, type Peer, type ToPrimary, type ToWorker } from './dialogue.ts'

/** How long the primary may take to answer, ms: longer than it waits for the workers that it queries. */
const PRIMARY_ANSWER_MS = 2000

/** Returns when it serves. `fail` ends the process at once, with exit code 1. */
export async function work(config: Config, self: Worker, fail: () => never): Promise<void> {
  const logger = await createLogger(config, self.id)
  const serving: Serving = {}
  // Ctrl-C reaches the workers too: the primary's request, before or after it, does not count as a second one.
  const end = drainAtEnd(config, logger, serving, fail)

  const primary = new Dialogue<ToPrimary, ToWorker>(process as Peer, question => {
    switch (question.of) {
      case 'stop':
        return end.begin()
      case 'metrics':
        return serving.app?.fanwire.metrics.registry.getMetricsAsJSON()
      case 'readers':
        return serving.app?.fanwire.hub.readers(question.channel)
    }
  })
  // Without this, node:cluster would end the process at once when the primary disconnects.
  self.exitedAfterDisconnect = true
  process.on('disconnect', () => {
    if (!end.begun) logger.error('the primary is gone')
    end.begin()
  })

  let { port } = config
  try {
    const app = await start(config, logger, {
      metrics: async () => (await primary.ask({ of: 'metrics' }, PRIMARY_ANSWER_MS)) as string | undefined,
      readers: async channel =>
        (await primary.ask({ of: 'readers', channel }, PRIMARY_ANSWER_MS)) as number | undefined,
    })
    serving.app = app
    if (port === 0) {
      const answer = await primary.ask({ of: 'port' }, PRIMARY_ANSWER_MS)
      if (typeof answer !== 'number') throw new Error('the primary did not name a port')
      port = answer
    }
    // A closed server must not listen.
    if (!end.begun) await listen(app, { ...config, port })
  } catch (error) {
    if (end.begun) return
    await primary.ask({ of: 'failed', why: explain(error, { ...config, port }) }, PRIMARY_ANSWER_MS)
    fail()
  }
}
