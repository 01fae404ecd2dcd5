// Time that passes only when a test says so.

import { setImmediate as turn } from 'node:timers/promises'
import { mock } from 'node:test'
import { settled } from './scripted-log.ts'

export type Teardown = (end: () => void) => void

/** Stops time until `tick`; timers and clocks of the code under test are the test's. */
export function stopTime(teardown: Teardown): { tick(ms: number): Promise<void> } {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: Date.now() })
  teardown(() => mock.timers.reset())
  return {
    async tick(ms) {
      // In small steps, with the event loop free between them, as time passes.
      for (let left = ms; left > 0; left -= 10) {
        mock.timers.tick(Math.min(10, left))
        await turn()
      }
      await settled()
    },
  }
}
