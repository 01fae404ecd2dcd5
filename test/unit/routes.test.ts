// The tests of these folders, which run by themselves too.

import { join } from 'node:path'
import { runTogether } from '../support/together.ts'

for (const folder of ['admin', 'channels', 'hooks', 'publish', 'tickets']) {
  await runTogether(join(import.meta.dirname, folder))
}
