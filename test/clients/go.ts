// The Go clients: one program that uses their modules. It is built in .cache/ of this project, as is Go's own cache.

import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildGo, GO_CACHE } from '../support/go.ts'
import { without } from '../support/tools.ts'

const SOURCES = fileURLToPath(new URL('go/', import.meta.url))

/** The reason why the Go clients cannot be built; false if they can. */
export const withoutGo: string | false = without('go') || tooOld()

function tooOld(): string | false {
  const release = (text: string) => Number(/\bgo ?1\.(\d+)/.exec(text)?.[1])
  const has = release(execFileSync('go', ['env', 'GOVERSION'], { encoding: 'utf8' }))
  const needs = release(readFileSync(join(SOURCES, 'go.mod'), 'utf8'))
  return has < needs && `Go 1.${has} is older than 1.${needs}`
}

/** Builds the program if needed. Returns its path. */
export async function prepareGo(): Promise<string> {
  const program = join(GO_CACHE, 'bin', 'clients')
  if (!existsSync(program)) console.error(`building the Go clients of ${SOURCES} into ${GO_CACHE}`)
  await buildGo(SOURCES, program)
  return program
}
