// Writes rules.schema.json, which ships with the package: `npm run schema`.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { format } from 'prettier'
import { rulesSchema } from '../../services/broker/rules/schema.ts'

const path = join(import.meta.dirname, '../../rules.schema.json')
writeFileSync(path, await format(JSON.stringify(rulesSchema()), { parser: 'json', printWidth: 110 }))
