// The commands of `fanwire` that start no node, by name. Each is a file.

import { check } from './check.ts'
import { type Command, Misused, print, remark } from './command.ts'
import { explain } from './explain.ts'
import { key } from './key.ts'

const COMMANDS: ReadonlyMap<string, Command> = new Map(Object.entries({ key, check, explain }))

/** The exit code of a command that was not called as it has to be. */
const MISUSED = 2

/** Runs the command that the first argument names and returns its exit code; undefined where it names none. */
export async function runCommand([name = '', ...args]: readonly string[]): Promise<number | undefined> {
  const command = COMMANDS.get(name)
  if (command === undefined) return undefined
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
