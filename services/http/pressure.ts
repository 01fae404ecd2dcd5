// Pressure: a node whose event loop lags, or whose memory runs out, accepts no new connections and reads, so that the
// existing ones continue. Publishes are bounded by the log, and health is always answered.

import { constants, type PerformanceEntry, PerformanceObserver } from 'node:perf_hooks'
import { getHeapSpaceStatistics, getHeapStatistics } from 'node:v8'
import fp from 'fastify-plugin'
import { FanwireError } from '../errors.ts'
import { answerAndClose } from './exchange.ts'

/** How often it is measured, ms. */
const LOOK_MS = 250
/** The consecutive measurements after which pressure begins or ends, so that a single long pause does not count. */
const IN_A_ROW = 4
/** Pressure ends below this fraction of the threshold at which it begins. */
const OVER_BELOW = 0.8
/** The fraction of the heap's limit above which Node is about to run out of memory. */
const HEAP_PART = 0.95
/** The fraction in use after a full garbage collection above which collections follow each other closely. */
const LIVE_PART = 0.75
/** If there was no full collection for this many measurements, there is enough memory. */
const COLLECTED_WITHIN = 20
/** The heap's limit, with and without the young generation, bytes. */
const HEAP_LIMIT = getHeapStatistics().heap_size_limit
const OLD_LIMIT = Math.max(HEAP_LIMIT / 2, HEAP_LIMIT - 48 * 2 ** 20)

export type Cause = 'loop' | 'memory'

/** One measurement. */
export interface Measured {
  /** The event loop's lag, ms. */
  readonly delay: number
  readonly rss: number
  readonly heap: number
}

export interface PressureLimits {
  /** Ms; 0: never. */
  readonly maxLoopDelay: number
  /** Bytes; 0: only the heap's own limit. */
  readonly maxRss: number
}

/** One measure with its hysteresis. */
class Gauge {
  over = false
  #count = 0

  look(value: number, limit: number): void {
    const turns = this.over ? value < limit * OVER_BELOW : value > limit
    this.#count = turns ? this.#count + 1 : 0
    if (this.#count < IN_A_ROW) return
    this.over = !this.over
    this.#count = 0
  }
}

export class Pressure {
  /** The number of refused requests, by the exhausted resource. */
  readonly shed: Record<Cause, number> = { loop: 0, memory: 0 }
  readonly #limits: PressureLimits
  readonly #heapLimit = HEAP_LIMIT * HEAP_PART
  readonly #gauges = { loop: new Gauge(), rss: new Gauge(), heap: new Gauge() }
  /** Whether most of the heap was in use after the last full collection. */
  #isFull = false
  /** Measurements since then. */
  #since = 0
  #collections: PerformanceObserver | undefined
  #timer: NodeJS.Timeout | undefined
  #due = 0

  constructor(limits: PressureLimits) {
    this.#limits = limits
  }

  start(): void {
    this.#due = performance.now() + LOOK_MS
    this.#timer = setInterval(() => {
      const now = performance.now()
      this.look({
        delay: Math.max(0, now - this.#due),
        rss: this.#limits.maxRss > 0 ? process.memoryUsage.rss() : 0,
        heap: getHeapStatistics().used_heap_size,
      })
      this.#due = now + LOOK_MS
    }, LOOK_MS).unref()
    this.#collections = new PerformanceObserver(list => {
      if (list.getEntries().some(isComplete)) this.collected(fractionInUse())
    })
    this.#collections.observe({ entryTypes: ['gc'] })
  }

  close(): void {
    this.#collections?.disconnect()
    clearInterval(this.#timer)
  }

  /** Takes a measurement into account. */
  look({ delay, rss, heap }: Measured): void {
    const { maxLoopDelay, maxRss } = this.#limits
    const { loop, rss: resident, heap: objects } = this.#gauges
    if (maxLoopDelay > 0) loop.look(delay, maxLoopDelay)
    if (maxRss > 0) resident.look(rss, maxRss)
    objects.look(heap, this.#heapLimit)
    if (this.#isFull && ++this.#since >= COLLECTED_WITHIN) this.#isFull = false
  }

  /** Called after a full garbage collection with the fraction of the heap in use. */
  collected(inUse: number): void {
    this.#isFull = inUse > LIVE_PART * (this.#isFull ? OVER_BELOW : 1)
    this.#since = 0
  }

  /** The exhausted resource, if there is one. */
  get cause(): Cause | undefined {
    const { loop, rss, heap } = this.#gauges
    if (rss.over || heap.over || this.#isFull) return 'memory'
    return loop.over ? 'loop' : undefined
  }

  /** Raises FW_OVERLOADED if a resource is exhausted. */
  requireEase(): void {
    const { cause } = this
    if (cause === undefined) return
    this.shed[cause]++
    throw new FanwireError('FW_OVERLOADED', 'the node is overloaded: try again later, or use another node')
  }
}

function isComplete(entry: PerformanceEntry): boolean {
  const { detail } = entry as { readonly detail?: { readonly kind?: number } }
  return detail?.kind === constants.NODE_PERFORMANCE_GC_MAJOR
}

/** The fraction of the old generation in use. The young one has a separate space within the heap's limit. */
function fractionInUse(): number {
  const old = getHeapSpaceStatistics().filter(({ space_name: name }) => !name.startsWith('new'))
  return old.reduce((sum, { space_used_size: size }) => sum + size, 0) / OLD_LIMIT
}

const READS = new Set(['GET', 'HEAD'])

export const pressure = fp(
  async app => {
    const { pressure } = app.fanwire
    app.addHook('onReady', async () => pressure.start())
    app.addHook('onClose', async () => pressure.close())
    app.addHook('onRequest', (request, reply, next) => {
      if (pressure.cause === undefined) return next()
      const { url, always } = request.route
      if (READS.has(request.method) && url?.startsWith('/v1/') && always !== true) {
        answerAndClose(request, reply)
        pressure.requireEase()
      }
      next()
    })
  },
  { name: 'fanwire-pressure', dependencies: ['fanwire-errors'], fastify: '5.x' },
)
