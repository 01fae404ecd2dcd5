// `fanwire check FILE`: checks whether a node would accept the rules.

import { parseArgs } from 'node:util'
import { checkRulesFile } from '../broker/rules/check.ts'
import { type Command, Misused, print, readArgs } from './command.ts'

export const check: Command = {
  help: `fanwire check FILE: checks a rules file (FANWIRE_RULES), YAML or JSON

Prints each problem on a line, as path:line:column: message.
Exit codes: 0 valid, 1 problems found, 2 the file cannot be read.`,

  async run(args) {
    const [path, ...more] = readArgs(() => parseArgs({ args: [...args], allowPositionals: true })).positionals
    if (path === undefined || more.length > 0) throw new Misused('name one file')
    const { lines, exitCode } = await checkRulesFile(path)
    print(...lines)
    return exitCode
  },
}
