// `npm run docs`: writes the parts of the documents that the code knows. Tests compare them.

import { intoFile } from '../../bench/files.ts'
import { writeFileSync } from 'node:fs'
import { openApi } from './openapi.ts'
import { generated } from './reference.ts'

for (const [path, texts] of Object.entries(generated())) await intoFile(path, texts)
writeFileSync(new URL('../../openapi.json', import.meta.url), await openApi())
