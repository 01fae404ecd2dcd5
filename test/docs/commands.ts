// Runs the code blocks of documents: one test per document.

import t, { type Test } from 'tap'
import { type Block, blocksOf, isRun, placeOf } from './blocks.ts'
import { missingFor, Page } from './page.ts'

export function runDocuments(files: readonly string[]): void {
  // The first block of a language installs and compiles its library.
  t.setTimeout(600_000)
  // The tests run in parallel because they mostly wait, and each has its own folder and ports.
  t.jobs = 4
  for (const file of files) {
    const blocks = blocksOf(file).filter(isRun)
    if (blocks.length === 0) continue
    t.test(`${file}: its commands run as printed`, { buffered: true }, t => runAll(t, file, blocks))
  }
}

async function runAll(t: Test, file: string, blocks: readonly Block[]): Promise<void> {
  const page = await Page.open(file, blocks)
  t.teardown(() => page.close())
  for (const block of blocks) {
    const missing = missingFor(block)
    if (missing !== undefined) {
      t.pass(placeOf(block), { skip: `${missing} is not installed` })
      continue
    }
    await page.run(block)
    t.pass(placeOf(block))
  }
  await page.finish()
}
