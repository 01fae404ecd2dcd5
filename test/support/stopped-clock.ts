// A clock that a test moves. Timers go on: stopped-time.ts stops these, too.

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
