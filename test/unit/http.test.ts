// Runs the tests of http/ in one process. Each file also runs alone.

import { join } from 'node:path'
import { runTogether } from '../support/together.ts'

await runTogether(join(import.meta.dirname, 'http'))
