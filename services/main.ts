#!/usr/bin/env node
// The command `fanwire`: runs a tool or a command, or reads the settings and starts a node.

import { runCommand } from './commands/index.ts'
import { type Config, ConfigError, readConfig } from './config/config.ts'
import { runTool } from './tools.ts'

/** Exit codes: the command failed, and the arguments are wrong. */
const FAILED = 1
const MISUSED = 2

function end(exitCode: number, message?: string): never {
  if (message !== undefined) process.stderr.write(`${message.replace(/^/gm, 'fanwire: ')}\n`)
  process.exit(exitCode)
}

function command(args: readonly string[]): Config {
  try {
    const asked = readConfig(args)
    if ('config' in asked) return asked.config
    process.stdout.write(`${asked.print}\n`)
    process.exit(0)
  } catch (error) {
    if (error instanceof ConfigError) end(MISUSED, error.message)
    throw error
  }
}

/** A reader of a pipe that has enough, such as `head`, ends the command. */
function outputClosed(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error
  process.exit(0)
}

async function main(): Promise<void> {
  const [first, ...rest] = process.argv.slice(2)
  const args = first === 'start' ? rest : process.argv.slice(2)
  process.stdout.on('error', outputClosed)
  const code = (await runTool(args)) ?? (await runCommand(args))
  if (code !== undefined) {
    // Waits until the reader of a pipe has accepted the output.
    await new Promise(resolve => process.stdout.write('', resolve))
    process.exit(code)
  }
  process.stdout.off('error', outputClosed)
  const config = command(args)
  // Loaded only now, since commands do not need it and start in a third of the time without.
  const { run } = await import('./node/run.ts')
  await run(config, message => end(FAILED, message))
}

await main()
