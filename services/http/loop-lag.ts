// The event loop's lag, under prom-client's names. prom-client's own monitor wakes an idle node a hundred times a
// second, and counts its interval as lag.

import { monitorEventLoopDelay } from 'node:perf_hooks'
import { collectDefaultMetrics, Gauge, type Registry } from 'prom-client'

/** The interval of measurements, ms; and one that is practically never. */
const MEASURE_MS = 100
const NEVER = 2 ** 31 - 1

/** prom-client's metrics of a process, and the event loop's lag since the last scrape. */
export function processMetrics(registry: Registry): void {
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: NEVER })
  const monitor = monitorEventLoopDelay({ resolution: MEASURE_MS })
  monitor.enable()
  const late = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - MEASURE_MS) / 1000
  const look = () => ({
    // Before the first measurement it is the largest number.
    min: late(Math.min(monitor.min, monitor.max)),
    max: late(monitor.max),
    mean: late(monitor.mean || 0),
    stddev: (monitor.stddev || 0) / 1e9,
    p50: late(monitor.percentile(50)),
    p90: late(monitor.percentile(90)),
    p99: late(monitor.percentile(99)),
  })
  let looked = look()
  for (const what of Object.keys(looked) as (keyof typeof looked)[]) {
    replace(registry, `_${what}`, what === 'min' || what === 'max' ? what : 'average', gauge => {
      // The first gauge reads for all.
      if (what === 'min') {
        looked = look()
        monitor.reset()
      }
      gauge.set(looked[what])
    })
  }
  // prom-client reads the others from this one.
  replace(registry, '', 'average', gauge => {
    const asked = performance.now()
    setImmediate(() => gauge.set((performance.now() - asked) / 1000))
  })
}

function replace(
  registry: Registry,
  what: string,
  aggregator: 'min' | 'max' | 'average',
  collect: (gauge: Gauge) => void,
): void {
  const name = `nodejs_eventloop_lag${what}_seconds`
  registry.removeSingleMetric(name)
  const gauge: Gauge = new Gauge({
    name,
    help: `How late the event loop is${what.replace('_', ': ')}`,
    registers: [registry],
    aggregator,
    collect: () => collect(gauge),
  })
}
