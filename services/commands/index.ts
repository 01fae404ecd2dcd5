// The commands of `fanwire` that start no node, by name. Each is a file.

import { type Command, Misused, print, remark } from './command.ts'

/** Loaded when they are named: a node starts without them. */
const COMMANDS: ReadonlyMap<string, () => Promise<Command>> = new Map(
  Object.entries({
    key: async () => (await import('./key.ts')).key,
    check: async () => (await import('./check.ts')).check,
    explain: async () => (await import('./explain.ts')).explain,
  }),
)

/** The exit code of a command that was not called as it has to be. */
const MISUSED = 2

/** Runs the command that the first argument names and returns its exit code; undefined where it names none. */
export async function runCommand([name = '', ...args]: readonly string[]): Promise<number | undefined> {
  const load = COMMANDS.get(name)
  if (load === undefined) return undefined
  const command = await load()
  if (args.includes('--help') || args.includes('-h')) {
    print(command.help)
    return 0
  }
  try {
    return await command.run(args)
  } catch (error) {
    if (!(error instanceof Misused)) throw error
    remark(`${error.message}; fanwire ${name} --help says more`)
    return MISUSED
  }
}
