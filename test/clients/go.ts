// Programs that use client libraries in Go. They are built in .cache/ of this project, which also holds Go's own cache.

import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildGo, GO_CACHE } from '../support/go.ts'
import { without } from '../support/tools.ts'

export interface GoProgram {
  /** The reason why it cannot be built; false if it can. */
  readonly without: string | false
  /** Builds it if needed. Returns its path. */
  prepare(): Promise<string>
}

/** The program of the module in a folder below this one. */
export function goProgram(folder: string, name: string): GoProgram {
  const sources = fileURLToPath(new URL(folder, import.meta.url))
  return {
    without: without('go') || tooOld(sources),
    async prepare() {
      const program = join(GO_CACHE, 'bin', name)
      if (!existsSync(program)) console.error(`building the Go clients of ${sources} into ${GO_CACHE}`)
      await buildGo(sources, program)
      return program
    },
  }
}

function tooOld(sources: string): string | false {
  const release = (text: string) => Number(/\bgo ?1\.(\d+)/.exec(text)?.[1])
  const has = release(execFileSync('go', ['env', 'GOVERSION'], { encoding: 'utf8' }))
  const needs = release(readFileSync(join(sources, 'go.mod'), 'utf8'))
  return has < needs && `Go 1.${has} is older than 1.${needs}`
}
