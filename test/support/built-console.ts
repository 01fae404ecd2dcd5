// The console's files, as they are now: `npm test` has built them, a test file that is run by itself builds them.

import { BUILT } from './node.ts'

if (!BUILT) await import('../../console/build.ts')
