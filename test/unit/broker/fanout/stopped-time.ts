// Stops the clock: time passes only when a test calls `tick`.

import { setImmediate as turn } from 'node:timers/promises'
import { mock } from 'node:test'
import { settled } from './scripted-log.ts'

export type Teardown = (end: () => void) => void

/** Mocks timers and Date; `performance.now` and `setImmediate` stay real. */
export function stopTime(teardown: Teardown): { tick(ms: number): Promise<void> } {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: Date.now() })
  teardown(() => mock.timers.reset())
  return {
    async tick(ms) {
      // Advances in small steps with turns of the event loop between them, like real time.
      for (let left = ms; left > 0; left -= 10) {
        mock.timers.tick(Math.min(10, left))
        await turn()
      }
      await settled()
    },
  }
}
