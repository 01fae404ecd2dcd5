// Command lines of the suites that are commands (npm run abuse, npm run chaos).

import { parseArgs, type ParseArgsConfig } from 'node:util'

/** The command line is wrong. */
export class Misused extends Error {}

export function optionsOf<const Options extends NonNullable<ParseArgsConfig['options']>>(options: Options) {
  try {
    return parseArgs({ options }).values
  } catch (error) {
    throw new Misused(error instanceof Error ? error.message : String(error))
  }
}

/** The arguments of a command whose only option is --help. */
export function argumentsOf(): { readonly help: boolean; readonly args: readonly string[] } {
  try {
    const options = { help: { type: 'boolean', default: false } } as const
    const { values, positionals } = parseArgs({ options, allowPositionals: true })
    return { help: values.help, args: positionals }
  } catch (error) {
    throw new Misused(error instanceof Error ? error.message : String(error))
  }
}

/** A number of at least `least`; by default `otherwise`. */
export function numberOf(text: string | undefined, name: string, least: number, otherwise: number): number {
  const value = text === undefined ? otherwise : Number(text)
  if (!(value >= least)) throw new Misused(`--${name} takes a number from ${least}`)
  return value
}

/** Names from `all`, comma separated; all of them by default. `kind`: the kind of name, for the message. */
export function namesOf(text: string | undefined, kind: string, all: readonly string[]): readonly string[] {
  const wanted = text?.split(',').map(name => name.trim()) ?? all
  for (const name of wanted) if (!all.includes(name)) throw new Misused(`there is no ${kind} ${name}`)
  return wanted
}

/** Runs a command. On wrong usage, prints the error and the help, and exits with 2. */
export async function runMain(main: () => Promise<void>, help: string): Promise<void> {
  try {
    await main()
  } catch (error) {
    if (!(error instanceof Misused)) throw error
    process.stderr.write(`${error.message}\n\n${help}`)
    process.exitCode = 2
  }
}
