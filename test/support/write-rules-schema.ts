// Writes rules.schema.json, which ships with the package: `npm run schema`.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { format } from 'oxfmt'
import { rulesSchema } from '../../services/broker/rules/schema.ts'

const path = join(import.meta.dirname, '../../rules.schema.json')
const { code } = await format(path, JSON.stringify(rulesSchema()), { printWidth: 110 })
writeFileSync(path, code)
