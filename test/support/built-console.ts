// The console's current files: `npm test` has built them; a test file that is run by itself builds them.

import { BUILT } from './node.ts'

if (!BUILT) await import('../../console/build.ts')
