// Code shared by the bench's commands: progress output, and the choice of cases.

/** A line of progress, with the time. */
export function say(text: string): void {
  process.stderr.write(`${new Date().toISOString().slice(11, 19)}  ${text}\n`)
}

/** The items of `all` listed in `names`, in their own order; all for an empty list. Raises with `help`. */
export function chosen<T extends { readonly name: string }>(
  all: readonly T[],
  names: string | undefined,
  help: string,
): T[] {
  const wanted = names?.split(',').map(name => name.trim())
  for (const name of wanted ?? []) {
    if (!all.some(each => each.name === name)) throw new Error(`unknown: ${name}\n\n${help}`)
  }
  return all.filter(({ name }) => wanted?.includes(name) ?? true)
}

/** The command line, to repeat the run. */
export function invocation(script: string): string {
  const quoted = process.argv.slice(2).map(each => (/^[\w./=:@,-]+$/.test(each) ? each : `'${each}'`))
  return [`npm run ${script}`, ...(quoted.length > 0 ? ['--', ...quoted] : [])].join(' ')
}
