// Where the commands that measure leave what they found, and README.md, which shows some of it.

import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('..', import.meta.url))
/** The results that README shows. */
export const RESULTS = join(ROOT, 'bench', 'results')
/** Where a trial's result goes, which README does not show. */
export const TRIALS = join(ROOT, '.cache', 'bench')

export async function readJson<T>(file: string): Promise<T> {
  return JSON.parse(await readFile(file, 'utf8')) as T
}

/** Puts each text between README's marks `<!-- name -->` and `<!-- /name -->`. Raises where it has none. */
export async function intoReadme(texts: Readonly<Record<string, string>>): Promise<void> {
  const file = join(ROOT, 'README.md')
  let readme = await readFile(file, 'utf8')
  for (const [name, text] of Object.entries(texts)) {
    const [open, close] = [`<!-- ${name} -->`, `<!-- /${name} -->`]
    const begin = readme.indexOf(open)
    const end = readme.indexOf(close)
    if (begin === -1 || end < begin) throw new Error(`README.md has no ${open} … ${close}`)
    readme = `${readme.slice(0, begin + open.length)}\n${text.trim()}\n${readme.slice(end)}`
  }
  await writeFile(file, readme)
}
