// Where the tests' redis-server comes from: the PATH, or the distribution's package, unpacked without root.

import { type Program, program } from '../infra/packages.ts'

export type RedisBinary = Program

/** A redis-server or valkey-server that runs here. Throws with what to do where there is none. */
export async function redisBinary(): Promise<RedisBinary> {
  try {
    return await program('redis')
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new Error(
      'The Redis tests need a redis-server 7.0 or later. Install redis-server or valkey-server, ' +
        `or set REDIS_URL: ${why}`,
    )
  }
}
