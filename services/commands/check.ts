// `fanwire check FILE`: checks whether a node would accept the rules.

import { parseArgs } from 'node:util'
import { checkRulesFile } from '../broker/rules/check.ts'
import { type Command, Misused, print, readArgs } from './command.ts'

const OPTIONS = { json: { type: 'boolean' } } as const

export const check: Command = {
  help: `fanwire check FILE [--json]: checks a rules file (FANWIRE_RULES), YAML or JSON

Prints each problem on a line, as path:line:column: message; with --json, {"ok","problems"}, each problem with
its message, line and column.
Exit codes: 0 valid, 1 problems found, 2 the file cannot be read.`,

  async run(args) {
    const { values, positionals } = readArgs(() =>
      parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true }),
    )
    const [path, ...more] = positionals
    if (path === undefined || more.length > 0) throw new Misused('name one file')
    const { lines, problems, exitCode } = await checkRulesFile(path)
    print(...(values.json ? [JSON.stringify({ ok: exitCode === 0, problems })] : lines))
    return exitCode
  },
}
