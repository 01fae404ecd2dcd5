// What is wrong with a file that the operator wrote: rules, API keys, keys of tokens.

/** A fault, and where it is if that is known; line and column begin at 1. */
export interface Problem {
  readonly line?: number
  readonly column?: number
  readonly message: string
}

/** The file can't be used. Its message has all problems, a line each, and no secret. */
export class BadFileError extends Error {
  override readonly name = 'BadFileError'
  readonly problems: readonly Problem[]

  constructor(problems: readonly Problem[] | string) {
    const list = typeof problems === 'string' ? [{ message: problems }] : problems
    super(list.map(problem => problemLine(problem)).join('\n'))
    this.problems = list
  }
}

/** The JSON of a file, `what` it is. Raises BadFileError. */
export function readJson(text: string, what = 'the file'): unknown {
  try {
    return JSON.parse(text.replace(/^\ufeff/, ''))
  } catch {
    throw new BadFileError(`${what} is not valid JSON`)
  }
}

/** `path:line:column: message`, as compilers print it; parts that are not known are left out. */
export function problemLine({ line, column, message }: Problem, path?: string): string {
  return [path, line, column, ` ${message}`]
    .filter(part => part !== undefined)
    .join(':')
    .trimStart()
}
