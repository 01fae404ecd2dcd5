// `npm run docs`: writes the generated parts of the documents. Tests compare them with the code.

import { intoFile } from '../../bench/files.ts'
import { writeFileSync } from 'node:fs'
import { openApi } from './openapi.ts'
import { generated } from './reference.ts'

for (const [path, texts] of Object.entries(generated())) await intoFile(path, texts)
writeFileSync(new URL('../../openapi.json', import.meta.url), await openApi())
