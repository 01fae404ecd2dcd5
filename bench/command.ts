// What the bench's commands share: what they say while they run, and what they choose.

/** A line of progress, with the time. */
export function say(text: string): void {
  process.stderr.write(`${new Date().toISOString().slice(11, 19)}  ${text}\n`)
}

/** Those of `all` that `names` lists, in their own order; all where nothing is listed. Raises with `help`. */
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

/** The command as it was given, to be given again. */
export function invocation(script: string): string {
  const quoted = process.argv.slice(2).map(each => (/^[\w./=:@,-]+$/.test(each) ? each : `'${each}'`))
  return [`npm run ${script}`, ...(quoted.length > 0 ? ['--', ...quoted] : [])].join(' ')
}
