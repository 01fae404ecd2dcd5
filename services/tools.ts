// What the command line has besides a node: programs that load one, each a process of its own.

import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { fileURLToPath } from 'node:url'

/** By the word that stands first on the command line: built beside services/, or as sources. */
const TOOLS: Readonly<Record<string, string>> = { bench: '../bench/run', plan: '../bench/plan' }
const SOURCE = import.meta.url.endsWith('.ts')
const PASSED_ON = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Runs the tool that `args` ask for and returns its exit code; undefined where they ask for none. */
export function runTool([name = '', ...args]: readonly string[]): Promise<number> | undefined {
  if (!Object.hasOwn(TOOLS, name)) return undefined
  const file = fileURLToPath(new URL(`${TOOLS[name]}${SOURCE ? '.ts' : '.js'}`, import.meta.url))
  const flags = SOURCE ? ['--import', 'tsx'] : []
  const child = spawn(process.execPath, [...flags, file, ...args], { stdio: 'inherit' })
  for (const signal of PASSED_ON) process.on(signal, () => child.kill(signal))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    // As a shell has it: 128 and the number of the signal that ended it.
    child.once('exit', (code, signal) =>
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
    )
  })
}
