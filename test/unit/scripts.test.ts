// The scripts of package.json that take arguments.

import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { ROOT } from '../../bench/files.ts'

const text = (path: string) => readFileSync(join(ROOT, path), 'utf8')

t.test('each script that takes arguments has --help', async t => {
  const { scripts } = JSON.parse(text('package.json')) as { scripts: Record<string, string> }
  let count = 0
  for (const [name, command] of Object.entries(scripts)) {
    const [, path] = /\btsx ((?:bench|infra|test)\/\S+\.ts)/.exec(command) ?? []
    if (path === undefined || !/argv|parseArgs|optionsOf|argumentsOf/.test(text(path))) continue
    count++
    const help = ['--import', 'tsx', path, '--help']
    const { stdout } = await promisify(execFile)(process.execPath, help, { cwd: ROOT })
    t.ok(stdout.startsWith(`npm run ${name}`), `${name}: ${stdout.split('\n', 1)[0]}`)
  }
  t.ok(count > 0)
})
