// The commands that are not a node: `fanwire bench` and `fanwire plan`. They are in the package fanwire-bench, so that
// a node does not install their dependencies. Each runs in a separate process.

import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { constants } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const PACKAGE = 'fanwire-bench'
/** The module of the package that each command runs. */
const MODULES = new Map([
  ['bench', 'run'],
  ['plan', 'plan'],
])
const SOURCE = import.meta.url.endsWith('.ts')
const FORWARDED_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
/** The exit code for a tool that is not installed; `fanwire bench` uses it whenever it can't run. */
const CANNOT_RUN = 3

const NOT_INSTALLED = `the package ${PACKAGE} is not installed: run npm install ${PACKAGE}, or for a single run
npx --package fanwire --package ${PACKAGE} fanwire`

/** Runs the tool that the first argument names and returns its exit code; undefined if it names none. */
export function runTool([name = '', ...args]: readonly string[]): Promise<number> | undefined {
  const module = MODULES.get(name)
  if (module === undefined) return undefined
  const file = find(module)
  if (file === undefined) {
    const message = `${NOT_INSTALLED} ${[name, ...args].join(' ')}`
    process.stderr.write(`${message.replace(/^/gm, 'fanwire: ')}\n`)
    return Promise.resolve(CANNOT_RUN)
  }
  return run(file, args)
}

/** The tool's file: the source if a clone runs from source, otherwise the package beside fanwire or in this folder. */
function find(module: string): string | undefined {
  if (SOURCE) return fileURLToPath(new URL(`../bench/${module}.ts`, import.meta.url))
  for (const from of [import.meta.url, join(process.cwd(), 'package.json')]) {
    try {
      return createRequire(from).resolve(`${PACKAGE}/${module}`)
    } catch {
      // Not installed there.
    }
  }
  return undefined
}

function run(file: string, args: readonly string[]): Promise<number> {
  const flags = SOURCE ? ['--import', 'tsx'] : []
  const child = spawn(process.execPath, [...flags, file, ...args], { stdio: 'inherit' })
  for (const signal of FORWARDED_SIGNALS) process.on(signal, () => child.kill(signal))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    // As in a shell: 128 plus the number of the signal that ended it.
    child.once('exit', (code, signal) =>
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
    )
  })
}
