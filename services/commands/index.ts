// The commands of `fanwire` that do not start a node, by name. Each has a file.

import { help } from '../config/text.ts'
import { type Command, Failed, Misused, print, remark } from './command.ts'

/** The commands are loaded on use, so that a node starts without them. */
const COMMANDS: ReadonlyMap<string, () => Promise<Command>> = new Map(
  Object.entries({
    key: async () => (await import('./key.ts')).key,
    check: async () => (await import('./check.ts')).check,
    hooks: async () => (await import('./hooks.ts')).hooks,
    explain: async () => (await import('./explain.ts')).explain,
    publish: async () => (await import('./publish.ts')).publish,
    follow: async () => (await import('./follow.ts')).follow,
    history: async () => (await import('./history.ts')).history,
    export: async () => (await import('./transfer.ts')).exportChannel,
    import: async () => (await import('./transfer.ts')).importChannel,
    channels: async () => (await import('./lists.ts')).channels,
    presence: async () => (await import('./lists.ts')).presence,
    token: async () => (await import('./token.ts')).token,
    completion: async () => (await import('./completion.ts')).completion(helps),
  }),
)

/** Commands of the package fanwire-bench, whose help is there. */
const TOOLS = ['bench', 'plan']

/** The help of each command, as far as it is known here. */
async function helps(): Promise<ReadonlyMap<string, string>> {
  const own = [...COMMANDS].map(async ([name, load]) => [name, (await load()).help] as const)
  return new Map([['start', help()], ...(await Promise.all(own)), ...TOOLS.map(name => [name, ''] as const)])
}

/** The exit code of wrong usage. */
const MISUSED = 2

/** Runs the command that the first argument names, and returns its exit code; undefined if there is no such command. */
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
    if (error instanceof Failed) {
      remark(error.message)
      return error.exitCode
    }
    if (!(error instanceof Misused)) throw error
    remark(`${error.message}; fanwire ${name} --help shows the usage`)
    return MISUSED
  }
}
