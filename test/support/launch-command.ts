// Commands of `fanwire` that talk to a node, as processes.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { ROOT } from '../../bench/files.ts'
import { BUILT } from './node.ts'

const MAIN = BUILT ? ['dist/services/main.js'] : ['--import', 'tsx', 'services/main.ts']

/** Starts a command, such as `follow`, for the node at `url`. */
export function launchCommand(url: string, ...args: string[]) {
  const env = { PATH: process.env.PATH, FANWIRE_URL: url }
  const child = spawn(process.execPath, [...MAIN, ...args], { cwd: ROOT, env })
  let out = ''
  let err = ''
  child.stdout.on('data', data => (out += data))
  child.stderr.on('data', data => (err += data))
  const ended = once(child, 'close').then(([code]) => ({ code: code as number, out, err }))
  return { child, ended, lines: () => out.split('\n').filter(Boolean), remarks: () => err }
}
