// The tests of broker/, which run by themselves too.

import { join } from 'node:path'
import { runTogether } from '../support/together.ts'

await runTogether(join(import.meta.dirname, 'broker'))
