// Explains in one line why a node could not start, and what to do about it.

import { AccessRefused } from '../broker/access/access.ts'
import { LogRefused, LogUnavailable } from '../broker/log/log.ts'
import type { Config } from '../config/config.ts'
import { CertificateRefused } from '../http/certificate.ts'
import { PackagesMissing } from '../http/tracing/packages.ts'
import type { Ports } from './listen.ts'

/** The setting of each port. */
function settingOf(port: number, { h2cPort, metricsPort }: Pick<Config, Ports>): string {
  if (port !== 0 && port === h2cPort) return 'FANWIRE_H2C_PORT'
  return port !== 0 && port === metricsPort ? 'FANWIRE_METRICS_PORT' : 'PORT'
}

/** The problem and its remedy, in one line. */
export function explain(error: unknown, config: Pick<Config, 'host' | Ports>): string {
  if (!(error instanceof Error)) return String(error)
  const { host } = config
  // The log's messages name the Redis server.
  if (error instanceof LogUnavailable) {
    if (error.reason !== 'unreachable') return `the log cannot be used yet: ${error.message}`
    return `the log cannot be reached: ${error.message}; start it, or correct REDIS_URL`
  }
  if (error instanceof LogRefused) return `the log cannot be used: ${error.message}`
  const refused = [CertificateRefused, AccessRefused, PackagesMissing].some(kind => error instanceof kind)
  if (refused) return error.message
  const { code, port = config.port } = error as NodeJS.ErrnoException & { port?: number }
  const setting = settingOf(port, config)
  switch (code) {
    case 'EADDRINUSE':
      return `port ${port} of ${host} is in use: stop what listens there, or choose another with ${setting} (0: any free one)`
    case 'EACCES':
      return `port ${port} needs more rights than this user has: choose one above 1023 with ${setting}`
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `HOST is ${host}, which is not an address of this machine: use 127.0.0.1 for local clients only, 0.0.0.0 for all`
    default:
      return error.stack ?? error.message
  }
}
