// Clocks that a test moves. Timers continue to run: test/unit/broker/fanout/stopped-time.ts stops them too.

import { mock } from 'node:test'
import type { Test } from 'tap'

/** Stops `Date` in this process until the end of the test. `forward` moves it, in ms. */
export function stopClock(t: Test): { forward(ms: number): void } {
  let now = Date.now()
  mock.timers.enable({ apis: ['Date'], now })
  t.teardown(() => mock.timers.reset())
  return {
    forward(ms) {
      now += ms
      mock.timers.setTime(now)
    },
  }
}

/**
 * Stops `performance.now` in this process until the end of the test, at the next whole second. `forward` moves it, in ms.
 * (If it went back, whatever waits in the process meanwhile, such as a probe of the log, would seem to take very long.)
 */
export function stopPerformanceNow(t: Pick<Test, 'teardown'>): { forward(ms: number): void } {
  let now = Math.ceil(performance.now() / 1000) * 1000
  const clock = mock.method(performance, 'now', () => now)
  t.teardown(() => clock.mock.restore())
  return {
    forward(ms) {
      now += ms
    },
  }
}
