import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

/**
 * Runs the tests of a folder, and of those below it, in this process, one file after the other: starting a process for
 * each would cost most of a second of CPU.
 */
export async function runTogether(folder: string): Promise<void> {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  for (const file of files.filter(file => file.endsWith('.test.ts')).sort()) {
    await import(pathToFileURL(join(folder, file)).href)
  }
}
