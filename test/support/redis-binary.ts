// Finds the tests' redis-server: on the PATH, or in a package that is unpacked without root.

import { type Program, program } from '../../infra/local/packages.ts'

export type RedisBinary = Program

let name: 'redis' | 'valkey' = 'redis'

/** Makes this process start Valkey servers instead of Redis. Returns the reason if that is impossible. */
export async function useValkey(): Promise<string | undefined> {
  try {
    await program('valkey')
    name = 'valkey'
    return undefined
  } catch (error) {
    return `no valkey-server here: ${error instanceof Error ? error.message : error}`
  }
}

/** A redis-server or valkey-server that runs here. Throws with instructions if there is none. */
export async function redisBinary(): Promise<RedisBinary> {
  try {
    return await program(name)
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new Error(
      'The Redis tests need a redis-server 7.0 or later. Install redis-server or valkey-server, ' +
        `or set REDIS_URL: ${why}`,
    )
  }
}
