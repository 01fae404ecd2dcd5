// `npm run docs`: writes the parts of the documents that the code knows. Tests compare them.

import { intoFile } from '../../bench/files.ts'
import {
  errorsReference,
  errorTable,
  routesReference,
  routesTable,
  settingsReference,
  settingsTable,
} from './reference.ts'

export const GENERATED: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'README.md': { settings: settingsTable(), errors: errorTable() },
  'docs/reference/settings.md': { table: settingsTable(), settings: settingsReference() },
  'docs/reference/errors.md': { table: errorTable(), errors: errorsReference() },
  'docs/reference/routes.md': { table: routesTable(), routes: routesReference() },
}

for (const [path, texts] of Object.entries(GENERATED)) await intoFile(path, texts)
