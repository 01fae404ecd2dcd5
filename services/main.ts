#!/usr/bin/env node
// The process: settings, then one node, or several workers that serve as one.

import cluster from 'node:cluster'
import type { FastifyBaseLogger } from 'fastify'
import { runCommand } from './commands/index.ts'
import { type Config, ConfigError, readConfig } from './config/config.ts'
import { VERSION } from './config/version.ts'
import { explain } from './node/explain.ts'
import { listen } from './node/listen.ts'
import { createLogger } from './node/logger.ts'
import { start } from './node/node.ts'
import { endWithGrace, type Serving, spared } from './node/stop.ts'
import { StartFailed, supervise } from './node/workers/primary.ts'
import { work } from './node/workers/worker.ts'
import { runTool } from './tools.ts'

/** Exit codes: what was asked for can't be, and what is wrong with how it was asked. */
const FAILED = 1
const MISUSED = 2

/** On a terminal: what to paste first. */
function welcome(address: string, config: Config): string {
  const url = address.replace('//0.0.0.0:', '//127.0.0.1:').replace('//[::]:', '//[::1]:')
  const key = config.publishKeys.length === 0 ? '' : ` -H 'Authorization: Bearer <key>'`
  return [
    '',
    `  fanwire ${VERSION} on ${url}`,
    '',
    ...(config.role === 'writer' ? [] : [`  follow:   curl -N '${url}/v1/sse?channel=news'`]),
    ...(config.role === 'edge'
      ? []
      : [
          `  publish:  curl${key} -H 'Content-Type: application/json' -d '{"hello":"world"}' ${url}/v1/channels/news/events`,
        ]),
    '',
    '',
  ].join('\n')
}

function give(exitCode: number, message: string): never {
  process.stderr.write(`${message.replace(/^/gm, 'fanwire: ')}\n`)
  process.exit(exitCode)
}

/** Where the log is. */
function logOf({ redisUrl, data }: Config): { log: string; data?: string; hint?: string } {
  if (redisUrl !== undefined) return { log: 'redis' }
  if (data !== undefined) return { log: 'file', data }
  return { log: 'memory', hint: 'a restart forgets the log; FANWIRE_DATA=./data keeps it in that folder' }
}

function command(args: readonly string[]): Config {
  try {
    const asked = readConfig(args)
    if ('config' in asked) return asked.config
    process.stdout.write(`${asked.print}\n`)
    process.exit(0)
  } catch (error) {
    if (error instanceof ConfigError) give(MISUSED, error.message)
    throw error
  }
}

/** One process is all. Returns its address once it is ready. */
async function serve(config: Config, logger: FastifyBaseLogger): Promise<string> {
  const serving: Serving = {}
  endWithGrace(config, logger, serving, spared(config))
  serving.app = await start(config, logger)
  return await listen(serving.app, config)
}

async function main(): Promise<void> {
  const [first, ...rest] = process.argv.slice(2)
  const args = first === 'start' ? rest : process.argv.slice(2)
  const code = (await runTool(args)) ?? (await runCommand(args))
  if (code !== undefined) {
    // A pipe takes what was printed when its reader does.
    await new Promise(resolve => process.stdout.write('', resolve))
    process.exit(code)
  }
  const config = command(args)
  const alone = config.workers === 1
  if (!alone && cluster.worker !== undefined) {
    return work(config, cluster.worker, () => process.exit(FAILED))
  }
  const logger = createLogger(config)
  // Nothing else may keep the process alive while it waits for the log.
  const awake = setInterval(() => {}, 60_000)
  try {
    const address = await (alone ? serve : supervise)(config, logger)
    const about = { address, role: config.role, ...logOf(config) }
    if (alone) logger.info(about, `listening on ${address}`)
    else
      logger.info(
        { ...about, workers: config.workers },
        `listening on ${address} with ${config.workers} workers`,
      )
    if (process.stdout.isTTY) process.stdout.write(welcome(address, config))
  } catch (error) {
    give(FAILED, error instanceof StartFailed ? error.message : explain(error, config))
  } finally {
    clearInterval(awake)
  }
}

await main()
