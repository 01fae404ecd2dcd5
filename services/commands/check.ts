// `fanwire check FILE`: whether a node would take the rules.

import { parseArgs } from 'node:util'
import { checkRulesFile } from '../broker/rules/check.ts'
import { type Command, Misused, print, readArgs } from './command.ts'

export const check: Command = {
  help: `fanwire check FILE: checks a file of rules (FANWIRE_RULES), YAML or JSON

Each problem is a line, path:line:column: message.
Exit codes: 0 good, 1 it has problems, 2 it can not be read.`,

  async run(args) {
    const [path, ...more] = readArgs(() => parseArgs({ args: [...args], allowPositionals: true })).positionals
    if (path === undefined || more.length > 0) throw new Misused('name one file')
    const { lines, exitCode } = await checkRulesFile(path)
    print(...lines)
    return exitCode
  },
}
