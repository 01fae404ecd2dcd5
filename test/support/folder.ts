import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

/** A new folder, which is removed after the test. */
export function folder(t: Pick<Test, 'teardown'>): string {
  const path = mkdtempSync(join(tmpdir(), 'fanwire-test-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}
