// Pressure: a node whose event loop lags, or whose memory runs out, accepts no new connections and reads, so that the
// existing ones continue. Publishes are bounded by the log, and health is always answered.

import { constants, type PerformanceEntry, PerformanceObserver } from 'node:perf_hooks'
import { getHeapSpaceStatistics, getHeapStatistics } from 'node:v8'
import fp from 'fastify-plugin'
import { flagsOfNode } from '../config/config.ts'
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
/** The fraction in use after a full garbage collection above which the node counts as full. */
const LIVE_PART = 0.75
/** If there was no full collection for this many measurements, there is enough memory. */
const COLLECTED_WITHIN = 8
/** The heap's limit, bytes: the old generation and three times half of the young one. */
const HEAP_LIMIT = getHeapStatistics().heap_size_limit
const HALF_OF_YOUNG = (numberOf('max-semi-space-size') ?? 16) * 2 ** 20
const OLD_LIMIT = Math.max(HEAP_LIMIT / 2, HEAP_LIMIT - 3 * HALF_OF_YOUNG)

export type Cause = 'loop' | 'memory'

/** One measurement. */
export interface Measured {
  /** The event loop's lag, ms. */
  readonly delay: number
  readonly rss: number
  readonly heap: number
}

/** The heap after a full garbage collection, bytes. */
export interface HeapUse {
  /** What is in use outside the young generation. */
  readonly used: number
  readonly limit: number
  /**
   * The size of the young generation. V8 starts the next full collection when what is in use comes within half of this of
   * the midpoint between what was alive and the limit (its heap-controller.cc). If it is that close right after a
   * collection, V8 collects all the time, which takes more than a core.
   */
  readonly young: number
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
  /** Whether too much of the heap was in use after the last full collection. */
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
      if (list.getEntries().some(isComplete)) this.collected(heapUse())
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

  /** Called after a full garbage collection. */
  collected({ used, limit, young }: HeapUse): void {
    const most = Math.min(LIVE_PART * limit, limit - young)
    this.#isFull = used > most * (this.#isFull ? OVER_BELOW : 1)
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

/** The last number that a flag of Node was given. */
function numberOf(flag: string): number | undefined {
  const given = flagsOfNode().replaceAll('_', '-')
  const last = [...given.matchAll(new RegExp(`--${flag}[= ](\\d+)`, 'g'))].at(-1)
  return last && Number(last[1])
}

function isComplete(entry: PerformanceEntry): boolean {
  const { detail } = entry as { readonly detail?: { readonly kind?: number } }
  return detail?.kind === constants.NODE_PERFORMANCE_GC_MAJOR
}

function heapUse(): HeapUse {
  let [used, young] = [getHeapStatistics().external_memory, 0]
  for (const { space_name: name, space_used_size: inUse, space_size: size } of getHeapSpaceStatistics()) {
    if (name === 'new_space') young = size
    else if (!name.startsWith('new')) used += inUse
  }
  return { used, limit: OLD_LIMIT, young }
}

const READS = new Set(['GET', 'HEAD'])

export const pressure = fp(
  async app => {
    const { pressure } = app.fanwire
    app.addHook('onReady', async () => pressure.start())
    app.addHook('onClose', async () => pressure.close())
    app.addHook('onRequest', (request, reply, next) => {
      if (pressure.cause === undefined) return next()
      const { url, always, opens } = request.route
      if (opens || (READS.has(request.method) && url?.startsWith('/v1/') && always !== true)) {
        answerAndClose(request, reply)
        pressure.requireEase()
      }
      next()
    })
  },
  { name: 'fanwire-pressure', dependencies: ['fanwire-errors'], fastify: '5.x' },
)
