// The output of `fanwire check FILE` for a rules file.

import { BadFileError, type Problem, problemLine } from '../files/bad-file.ts'
import { readText } from '../files/watched-file.ts'
import { LARGEST_RULES_FILE, parseRules } from './parse.ts'

export interface Checked {
  /** One problem per line, as `path:line:column: message`, or a single line with a summary. */
  readonly lines: readonly string[]
  readonly problems: readonly Problem[]
  /** 0: valid; 1: it has problems; 2: it can't be read. */
  readonly exitCode: 0 | 1 | 2
}

export async function checkRulesFile(path: string): Promise<Checked> {
  let text: string
  try {
    text = await readText(path, LARGEST_RULES_FILE)
  } catch (error) {
    return problemsOf(path, error, 2)
  }
  try {
    const { list } = parseRules(text)
    return {
      lines: [`${path}: ${list.length} ${list.length === 1 ? 'rule' : 'rules'}, no problem`],
      problems: [],
      exitCode: 0,
    }
  } catch (error) {
    return problemsOf(path, error, 1)
  }
}

function problemsOf(path: string, error: unknown, exitCode: 1 | 2): Checked {
  if (!(error instanceof BadFileError)) throw error
  const { problems } = error
  return { lines: problems.map(problem => problemLine(problem, path)), problems, exitCode }
}
