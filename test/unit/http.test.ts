// The tests of http/, which run by themselves too.

import { join } from 'node:path'
import { runTogether } from '../support/together.ts'

await runTogether(join(import.meta.dirname, 'http'))
