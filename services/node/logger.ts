// The logger of a process: JSON lines, or coloured text on a terminal. No line has a query or a header.

import type { FastifyBaseLogger } from 'fastify'
import { type DestinationStream, pino } from 'pino'
import type { Config } from '../config/config.ts'
import { loggedPath } from '../http/target.ts'
import { LogOutput } from './log-output.ts'

/** `worker` and the process id are in every line of a worker. */
export async function createLogger({ logLevel }: Config, worker?: number): Promise<FastifyBaseLogger> {
  const redact = (request: { method?: string; url?: string }) => ({
    method: request.method,
    path: loggedPath(request.url),
  })
  const options = {
    level: logLevel,
    base: worker === undefined ? null : { worker, pid: process.pid },
    serializers: { req: redact },
  }
  const logger: FastifyBaseLogger = pino(options, await output())
  return logger
}

async function output(): Promise<DestinationStream> {
  if (!process.stdout.isTTY) return new LogOutput(process.stdout.fd)
  const { default: pretty } = await import('pino-pretty')
  return pretty({ colorize: true, sync: true, ignore: 'reqId', translateTime: 'HH:MM:ss.l' })
}
