// Whether the node can deliver: a probe event through the log proves it once a second. If the log can be read but accepts
// no appends, the node is ready for reads only.

import type { FastifyBaseLogger } from 'fastify'
import fp from 'fastify-plugin'
import type { Access } from '../broker/access/access.ts'
import { Type } from './schema.ts'
import { operation, word } from './operation.ts'
import { FanwireError } from '../errors.ts'
import { AppendsRefused, type ChannelLog, LogRefused, LogUnavailable } from '../broker/log/log.ts'

export interface ProbeTimes {
  /** The interval between the beginnings of two probes, ms. */
  readonly every: number
  /** How long after the last returned probe the node is still ready, ms. */
  readonly lasts: number
}

const READS = new Set(['GET', 'HEAD'])
/** The number of probes whose times are kept: those of the last minute. */
const KEPT_DELAYS = 60

/** Not ready within 4 s after the log went silent, ready within 1 s after it recovered. */
const TIMES: ProbeTimes = { every: 1000, lasts: 4000 }

export class Health {
  readonly #log: ChannelLog
  readonly #logger: FastifyBaseLogger
  readonly #times: ProbeTimes
  readonly #began = performance.now()
  /** When the last probe returned, by performance.now(). */
  #cameBack = Number.NEGATIVE_INFINITY
  #failure = 'the first probe has not returned yet'
  /** The error if the log refused the last probe permanently. */
  #refused: LogRefused | undefined
  /** Why the log accepts no events although it delivers. */
  #refusal: string | undefined
  #draining = false
  #reported: string | undefined
  #next: NodeJS.Timeout | undefined
  #expiry: NodeJS.Timeout | undefined
  #closed = false
  readonly #waiting = new Set<() => void>()
  readonly #delays: number[] = []

  constructor(log: ChannelLog, logger: FastifyBaseLogger, times = TIMES) {
    this.#log = log
    this.#logger = logger
    this.#times = times
  }

  /** Begins to probe. */
  start(): void {
    void this.#probe()
  }

  /** Ends probing. */
  close(): void {
    this.#closed = true
    clearTimeout(this.#next)
    clearTimeout(this.#expiry)
  }

  /** Makes the node not ready, since it is stopping. */
  drain(): void {
    this.#draining = true
    this.#report()
  }

  get draining(): boolean {
    return this.#draining
  }

  /** Ms since the last probe returned; since the start if none has. */
  get probeAge(): number {
    return performance.now() - (this.#cameBack > 0 ? this.#cameBack : this.#began)
  }

  /** How long the last probes took from the append to their delivery, ms, the oldest first. */
  get delays(): readonly number[] {
    return this.#delays
  }

  /** Whether the log delivers, also while the node stops. */
  get delivers(): boolean {
    return performance.now() - this.#cameBack < this.#times.lasts
  }

  get ready(): boolean {
    return this.delivers && !this.#draining
  }

  /** Whether the node is ready, and the log accepts appends. */
  get takesEvents(): boolean {
    return this.ready && this.#refusal === undefined
  }

  /** Why the node is not ready, or accepts no events. */
  get reason(): string | undefined {
    if (this.#draining) return 'the node is stopping'
    return this.delivers ? this.#refusal : this.#failure
  }

  /**
   * Returns once a probe has returned; at once if the last one still counts. Raises LogUnavailable after `ms`, or
   * LogRefused.
   */
  async proved(ms: number): Promise<void> {
    if (this.delivers) return
    await new Promise<void>((resolve, reject) => {
      const expire = () => reject(this.#refused ?? new LogUnavailable(this.#failure, 'silent'))
      const timer = setTimeout(expire, ms)
      this.#waiting.add(() => {
        clearTimeout(timer)
        resolve()
      })
    })
  }

  async #probe(): Promise<void> {
    const began = performance.now()
    try {
      this.#refusal = await this.#returns()
      if (this.#closed) return
      this.#cameBack = performance.now()
      if (this.#delays.push(this.#cameBack - began) > KEPT_DELAYS) this.#delays.shift()
      this.#failure = 'the log has gone silent: probes do not return'
      clearTimeout(this.#expiry)
      this.#expiry = setTimeout(() => this.#report(), this.#times.lasts + 10).unref()
      this.#report()
      for (const resolve of this.#waiting) resolve()
      this.#waiting.clear()
    } catch (error) {
      if (this.#closed) return
      this.#failure = error instanceof Error ? error.message : String(error)
      this.#refused = error instanceof LogRefused ? error : undefined
      this.#logger.debug({ err: error }, 'probe failed')
    }
    const { every } = this.#times
    const wait = Math.max(every / 10, every - (performance.now() - began))
    this.#next = setTimeout(() => void this.#probe(), wait).unref()
  }

  /** Returns why the log accepts no events, if a probe returns without an append. Raises LogUnavailable. */
  async #returns(): Promise<string | undefined> {
    try {
      await this.#log.probe()
      return undefined
    } catch (error) {
      if (error instanceof AppendsRefused) return error.message
      throw error
    }
  }

  /** Logs each change of readiness. */
  #report(): void {
    const { ready, takesEvents, reason } = this
    const state = `${ready} ${takesEvents}`
    if (state === this.#reported) return
    const first = this.#reported === undefined
    this.#reported = state
    if (takesEvents) this.#logger[first ? 'debug' : 'info']({ ready }, 'ready')
    else if (ready)
      this.#logger.warn({ ready, appends: false, reason }, 'ready for reads only: the log takes no events')
    else if (this.#draining) this.#logger.info({ ready }, 'not ready: the node is stopping')
    else this.#logger.warn({ ready, reason }, 'not ready: the log does not deliver')
  }
}

/** Raises FW_NOT_READY; for reads also FW_DRAINING. */
export function requireReady(state: Health, reads: boolean): void {
  if (!state.delivers) throw new FanwireError('FW_NOT_READY', `not ready: ${state.reason}`)
  if (state.draining && reads) {
    throw new FanwireError('FW_DRAINING', 'the node is stopping: reconnect to another node')
  }
}

/** Settings whose current files are invalid. Only the log says why, since the message may quote them. */
function outdated({ problems }: Access): { readonly problems?: readonly string[] } {
  return problems.length === 0 ? {} : { problems: problems.map(({ setting }) => setting) }
}

const ALIVE = operation({
  summary: 'Whether the process runs',
  tag: 'operate',
  answers: { 200: { description: 'it does', schema: Type.Object({ ok: Type.Boolean() }) } },
})

const READY = operation({
  summary: 'Whether the node can deliver',
  tag: 'operate',
  query: Type.Object({ for: word(['read', 'publish'], 'what it has to be ready for') }),
  answers: {
    200: {
      description: 'it can',
      schema: Type.Object({ ready: Type.Boolean(), reads: Type.Boolean(), appends: Type.Boolean() }),
    },
  },
})

/**
 * Serves `/healthz` and `/readyz`. Rejects new clients and requests under /v1/ while the node can't deliver, and new
 * clients and reads while it stops.
 */
export const health = fp(
  async app => {
    const state = app.fanwire.health

    app.addHook('onRequest', (request, _reply, next) => {
      const { url, always, opens } = request.route
      if (always !== true && (opens || url?.startsWith('/v1/'))) {
        // Publishes are served until the end. Readers can use other nodes.
        requireReady(state, opens === true || READS.has(request.method))
      }
      next()
    })

    app.get(
      '/healthz',
      { schema: ALIVE, config: { always: true, anyHost: true }, exposeHeadRoute: true },
      async () => ({
        ok: true,
      }),
    )

    // A writer that can't publish is useless, but other nodes can still be read.
    const usual = app.fanwire.config.role === 'writer' ? 'publish' : 'read'

    app.get(
      '/readyz',
      { schema: READY, config: { always: true, anyHost: true }, exposeHeadRoute: true },
      async (request, reply) => {
        reply.header('cache-control', 'no-store')
        const { for: purpose = usual } = request.query as { for?: unknown }
        if (purpose !== 'read' && purpose !== 'publish')
          throw new FanwireError('FW_BAD_PARAMETER', 'for is read or publish')
        const { ready: reads, takesEvents: appends, reason, draining } = state
        const ready = purpose === 'publish' ? appends : reads
        const about = {
          ready,
          reads,
          appends,
          reason,
          probeAge: Math.round(state.probeAge),
          ...outdated(app.fanwire.access),
        }
        if (ready) return { ...about, engine: app.fanwire.log.engine }
        const { error } = new FanwireError(draining ? 'FW_DRAINING' : 'FW_NOT_READY', reason ?? '').toJSON()
        return reply
          .code(503)
          .header('retry-after', '1')
          .send({ ...about, error })
      },
    )
  },
  { name: 'fanwire-health', fastify: '5.x' },
)
