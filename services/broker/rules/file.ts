// The rules file of a node: read again when it changes; a bad one leaves the rules as they are.

import { type WatchedFile, watchFile, type WatchedFileOptions } from '../files/watched-file.ts'
import { parseAside } from './aside.ts'
import { LARGEST_RULES_FILE, parseRules } from './parse.ts'
import type { Rules } from './rules.ts'

export type RulesFile = WatchedFile<Rules>

/**
 * Raises `BadFileError` if the file is bad to begin with. `hangUp`: what calls back on SIGHUP, and gives back what
 * ends that.
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
