// Runs the tests of broker/ in one process. Each file can also be run by itself.

import { join } from 'node:path'
import { runTogether } from '../support/together.ts'

await runTogether(join(import.meta.dirname, 'broker'))
