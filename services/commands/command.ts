// A command of `fanwire`, and how its arguments are parsed.

export interface Command {
  /** For --help. */
  readonly help: string
  /** Returns the exit code. Raises Misused. */
  run(args: readonly string[]): Promise<number>
}

/** The arguments are wrong. */
export class Misused extends Error {
  override readonly name = 'Misused'
}

/** The command failed. The message says what to do next. */
export class Failed extends Error {
  override readonly name = 'Failed'
  readonly exitCode: number

  constructor(message: string, exitCode: number) {
    super(message)
    this.exitCode = exitCode
  }
}

/** Returns the result of `parse`, which calls util.parseArgs. Raises Misused. */
export function readArgs<T>(parse: () => T): T {
  try {
    return parse()
  } catch (error) {
    // Only the first sentence: advice on quoting follows.
    throw new Misused(error instanceof Error ? error.message.replace(/\. .*$/s, '') : String(error))
  }
}

export function print(...lines: readonly string[]): void {
  for (const line of lines) process.stdout.write(`${line}\n`)
}

/** Messages for people go to stderr: scripts read stdout. */
export function remark(text: string): void {
  process.stderr.write(`${text.replace(/^/gm, 'fanwire: ')}\n`)
}
