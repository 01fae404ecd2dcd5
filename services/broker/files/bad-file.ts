// Faults of a file that the operator wrote: rules, API keys, token keys.

/** A fault, and its place if that is known. Line and column begin at 1. */
export interface Problem {
  readonly line?: number
  readonly column?: number
  readonly message: string
}

/** The file can't be used. The message lists all problems, one per line, and contains no secrets. */
export class BadFileError extends Error {
  override readonly name = 'BadFileError'
  readonly problems: readonly Problem[]

  constructor(problems: readonly Problem[] | string) {
    const list = typeof problems === 'string' ? [{ message: problems }] : problems
    super(list.map(problem => problemLine(problem)).join('\n'))
    this.problems = list
  }
}

/** Parses the JSON of a file; `what` names it in the message. Raises BadFileError. */
export function readJson(text: string, what = 'the file'): unknown {
  try {
    return JSON.parse(text.replace(/^\ufeff/, ''))
  } catch {
    throw new BadFileError(`${what} is not valid JSON`)
  }
}

/** `path:line:column: message`, as compilers print it; unknown parts are omitted. */
export function problemLine({ line, column, message }: Problem, path?: string): string {
  return [path, line, column, ` ${message}`]
    .filter(part => part !== undefined)
    .join(':')
    .trimStart()
}
