// The Go clients: one program of ours on their modules, built into .cache/ of this project with all that Go keeps.

import { execFile, execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { without } from '../support/tools.ts'

const SOURCES = fileURLToPath(new URL('go/', import.meta.url))
const CACHE = fileURLToPath(new URL('../../.cache/go/', import.meta.url))
/** Ms that fetching the modules and compiling them, the standard library too, may take. */
const BUILD_WITHIN = 240_000

const run = promisify(execFile)

/** Why the Go clients can not be built; false where they can. */
export const withoutGo: string | false = without('go') || tooOld()

function tooOld(): string | false {
  const release = (text: string) => Number(/\bgo ?1\.(\d+)/.exec(text)?.[1])
  const has = release(execFileSync('go', ['env', 'GOVERSION'], { encoding: 'utf8' }))
  const needs = release(readFileSync(join(SOURCES, 'go.mod'), 'utf8'))
  return has < needs && `Go 1.${has} is older than 1.${needs}`
}

/** The path of the program. */
export async function prepareGo(): Promise<string> {
  const program = join(CACHE, 'bin', 'clients')
  if (!existsSync(program)) console.error(`building the Go clients of ${SOURCES} into ${CACHE}`)
  const env = {
    ...process.env,
    GOPATH: CACHE,
    GOCACHE: join(CACHE, 'build'),
    // What Go fetches can be removed like other files, and it fetches no other Go.
    GOFLAGS: '-modcacherw',
    GOTOOLCHAIN: 'local',
    CGO_ENABLED: '0',
  }
  await run('go', ['build', '-ldflags=-s -w', '-o', program, '.'], {
    cwd: SOURCES,
    env,
    timeout: BUILD_WITHIN,
  })
  return program
}
