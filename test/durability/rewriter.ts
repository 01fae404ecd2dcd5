// Rewrites the segments of a folder and kills itself at one step. rewrite.test.ts runs it:
// rewriter.ts <folder> <function of fs> <call> <before|after>

import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'

const [, , folder = '', name = '', call = '1', when = 'before'] = process.argv
const functions = fs as unknown as Record<string, (...args: unknown[]) => unknown>
const real = functions[name]
if (real === undefined) throw new Error(`fs has no ${name}`)
let left = Number.POSITIVE_INFINITY
functions[name] = (...args) => {
  const isIt = --left === 0
  if (isIt && when === 'before') process.kill(process.pid, 'SIGKILL')
  const result = real.call(fs, ...args)
  if (isIt) process.kill(process.pid, 'SIGKILL')
  return result
}
// Runs before the log imports the functions of fs.
syncBuiltinESMExports()
const { openRewritable } = await import('./rewritable.ts')
const log = await openRewritable(folder)
left = Number(call)
await log.tidy()
process.stdout.write('not killed\n')
