// Runs the tests of these folders in one process. Each file also runs alone.

import { join } from 'node:path'
import { runTogether } from '../support/together.ts'

for (const folder of ['admin', 'channels', 'hooks', 'publish', 'tickets']) {
  await runTogether(join(import.meta.dirname, folder))
}
