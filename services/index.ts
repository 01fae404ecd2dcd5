// The package's exports for programs: a node in the same process, and the types of delivered objects.

import { type Config, ConfigError, readConfig } from './config/config.ts'
import { drain } from './node/drain.ts'
import { listen } from './node/listen.ts'
import { createLogger } from './node/logger.ts'
import { start } from './node/node.ts'

/** An event as every wire delivers it. */
export interface Event<Data = unknown> {
  readonly channel: string
  /** Its position in the channel, and a cursor to resume from. */
  readonly id: string
  /** The log's clock, ms since 1970. */
  readonly time: number
  readonly type?: string
  /** Set if `data` is a string that encodes bytes. */
  readonly encoding?: 'base64'
  readonly data: Data
}

/** Events after `from`, up to and including `to`, may be lost. Reading continues from `to`. */
export interface Gap {
  readonly channel: string
  readonly from: string
  readonly to: string
}

export interface FanwireNode {
  /** The node's URL without a slash at the end, such as `http://127.0.0.1:8080`. */
  readonly url: string
  /** Closes its connections over `FANWIRE_DRAIN`, as SIGTERM does; `at-once` closes them immediately. */
  close(how?: 'at-once'): Promise<void>
}

/**
 * Starts a node in this process and returns when it is ready. Settings are named as environment variables, such as
 * `{ PORT: '0' }`; the environment itself is not read. Raises an error that names each setting that is wrong.
 */
export async function startNode(settings: Readonly<Record<string, string>> = {}): Promise<FanwireNode> {
  const { config } = commandOf(settings)
  const app = await start(config, await createLogger(config))
  const close = (notice: number, spread: number) => drain(app, { notice, spread })
  try {
    const url = await listen(app, config)
    return { url, close: how => (how === 'at-once' ? close(0, 0) : close(config.drainNotice, config.drain)) }
  } catch (error) {
    await close(0, 0)
    throw error
  }
}

function commandOf(settings: Readonly<Record<string, string>>): { readonly config: Config } {
  const command = readConfig([], settings)
  if ('print' in command) throw new Error('only arguments request the help or the version')
  if (command.config.workers > 1)
    throw new ConfigError(
      'WORKERS is above 1: start workers with the command fanwire; here a node is one process',
    )
  return command
}
