// Builds Go programs of tests. Go's cache is in .cache/ of this project, so the standard library is compiled once.

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

export const GO_CACHE = fileURLToPath(new URL('../../.cache/go/', import.meta.url))
/** Maximum ms for fetching the modules and compiling them, including the standard library. */
const BUILD_WITHIN_MS = 240_000

/** Builds the module in a folder. Raises with the compiler's output. */
export async function buildGo(folder: string, program: string): Promise<void> {
  const env = {
    ...process.env,
    GOPATH: GO_CACHE,
    GOCACHE: `${GO_CACHE}build`,
    // Fetched modules stay writable, so that the cache can be removed; no other Go version is downloaded.
    GOFLAGS: '-modcacherw -mod=mod',
    GOTOOLCHAIN: 'local',
    CGO_ENABLED: '0',
  }
  // Not optimised: the standard library compiles in two thirds of the time.
  const args = ['build', '-gcflags=all=-N -l', '-ldflags=-s -w', '-o', program, '.']
  await promisify(execFile)('go', args, { cwd: folder, env, timeout: BUILD_WITHIN_MS })
}
