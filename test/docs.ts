// `npm run docs`: writes the tables of README.md that the code knows. Tests compare them.

import { intoReadme } from '../bench/files.ts'
import { settingsTable } from '../services/config.ts'
import { errorTable } from '../services/errors.ts'

await intoReadme({ settings: settingsTable(), errors: errorTable() })
