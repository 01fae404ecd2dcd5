// `npm run docs`: writes the tables of README.md that the code knows. Tests compare them.

import { readFileSync, writeFileSync } from 'node:fs'
import { settingsTable } from '../services/config.ts'
import { errorTable } from '../services/errors.ts'

const README = new URL('../README.md', import.meta.url)

/** `text` with what stands between `<!-- name -->` and `<!-- /name -->` replaced. */
export function fill(text: string, name: string, content: string): string {
  const [open, close] = [`<!-- ${name} -->`, `<!-- /${name} -->`]
  const from = text.indexOf(open)
  const to = text.indexOf(close)
  if (from === -1 || to < from) throw new Error(`README.md has no ${open} … ${close}`)
  return `${text.slice(0, from + open.length)}\n${content.trim()}\n${text.slice(to)}`
}

let readme = readFileSync(README, 'utf8')
readme = fill(readme, 'settings', settingsTable())
readme = fill(readme, 'errors', errorTable())
writeFileSync(README, readme)
