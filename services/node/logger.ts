// The logger of a process: JSON lines, or coloured text on a terminal. No line has a query or a header.

import type { FastifyBaseLogger } from 'fastify'
import { pino } from 'pino'
import pretty from 'pino-pretty'
import type { Config } from '../config/config.ts'
import { loggedPath } from '../http/target.ts'
import { LogOutput } from './log-output.ts'

/** `worker` and the process id are in every line of a worker. */
export function createLogger({ logLevel }: Config, worker?: number): FastifyBaseLogger {
  const redact = (request: { method?: string; url?: string }) => ({
    method: request.method,
    path: loggedPath(request.url),
  })
  const options = {
    level: logLevel,
    base: worker === undefined ? null : { worker, pid: process.pid },
    serializers: { req: redact },
  }
  return process.stdout.isTTY
    ? pino(options, pretty({ colorize: true, sync: true, ignore: 'reqId', translateTime: 'HH:MM:ss.l' }))
    : pino(options, new LogOutput(process.stdout.fd))
}
