// A node's rules file. It is read again when it changes. If it is invalid, the previous rules stay in force.

import { type WatchedFile, watchFile, type WatchedFileOptions } from '../files/watched-file.ts'
import { parseAside } from './aside.ts'
import { LARGEST_RULES_FILE, parseRules } from './parse.ts'
import type { Rules } from './rules.ts'

export type RulesFile = WatchedFile<Rules>

/**
 * Raises `BadFileError` if the file is invalid at the start. `hangUp` calls back on SIGHUP, and returns a function that
 * stops it.
 */
export async function openRulesFile(
  path: string,
  {
    hangUp = () => () => {},
    ...options
  }: Partial<Pick<WatchedFileOptions<Rules>, 'settle' | 'interval'>> & {
    readonly hangUp?: (listener: () => void) => () => void
  } = {},
): Promise<RulesFile> {
  const file = await watchFile({
    path,
    parse: parseRules,
    parseAside,
    mostBytes: LARGEST_RULES_FILE,
    ...options,
  })
  const quiet = hangUp(() => void file.reload())
  const close = file.close.bind(file)
  file.close = () => {
    quiet()
    close()
  }
  return file
}
