// Paths of the measured results, and of the documents that show them.

import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('..', import.meta.url))
/** The results that the documents show. */
export const RESULTS = join(ROOT, 'bench', 'results')
/** The result of a trial, which no document shows. */
export const TRIALS = join(ROOT, '.cache', 'bench')

export async function readJson<T>(file: string): Promise<T> {
  return JSON.parse(await readFile(file, 'utf8')) as T
}

/** Writes each text between the marks `<!-- name -->` and `<!-- /name -->` of a file. Raises if a mark is missing. */
export async function intoFile(path: string, texts: Readonly<Record<string, string>>): Promise<void> {
  const file = join(ROOT, path)
  await writeFile(file, withTexts(path, await readFile(file, 'utf8'), texts))
}

/** `document` with each text between its marks. Raises if a mark is missing; `path` is for the message. */
export function withTexts(path: string, document: string, texts: Readonly<Record<string, string>>): string {
  let whole = document
  for (const [name, text] of Object.entries(texts)) {
    const [open, close] = [`<!-- ${name} -->`, `<!-- /${name} -->`]
    const begin = whole.indexOf(open)
    const end = whole.indexOf(close)
    if (begin === -1 || end < begin) throw new Error(`${path} has no ${open} … ${close}`)
    whole = `${whole.slice(0, begin + open.length)}\n${text.trim()}\n${whole.slice(end)}`
  }
  return whole
}
