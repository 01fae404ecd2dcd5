// The scripts and the tap settings in package.json.

import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { ROOT } from '../../bench/files.ts'

const text = (path: string) => readFileSync(join(ROOT, path), 'utf8')

t.test('each script that takes arguments has --help', async t => {
  const { scripts } = JSON.parse(text('package.json')) as { scripts: Record<string, string> }
  const names: string[] = []
  const paths: string[] = []
  for (const [name, command] of Object.entries(scripts)) {
    const [, path] = /\btsx ((?:bench|infra|test)\/\S+\.ts)/.exec(command) ?? []
    if (path === undefined || !/argv|parseArgs|optionsOf|argumentsOf/.test(text(path))) continue
    names.push(name)
    paths.push(join(ROOT, path))
  }
  const program = ['--import=./test/strip-types.js', 'test/support/print-helps.ts']
  const { stdout } = await promisify(execFile)(process.execPath, [...program, ...paths], { cwd: ROOT })
  const helps = stdout.split('\f').slice(1)
  t.ok(names.length > 0)
  names.forEach((name, i) =>
    t.ok(helps[i]?.startsWith(`npm run ${name}`), `${name}: ${helps[i]?.split('\n', 1)[0]}`),
  )
})

t.test('tap leaves out only the folders whose tests run together', t => {
  const { tap } = JSON.parse(text('package.json')) as { tap: { exclude: string[] } }
  const excluded = tap.exclude.flatMap(
    pattern => /^test\/unit\/\{?([\w,]+)\}?\/\*\*$/.exec(pattern)?.[1]?.split(',') ?? [pattern],
  )
  const together = readdirSync(join(ROOT, 'test/unit'))
    .filter(name => name.endsWith('.test.ts') && /^import { runTogether }/m.test(text(`test/unit/${name}`)))
    .flatMap(name => [...text(`test/unit/${name}`).matchAll(/'(\w+)'/g)].map(([, folder = '']) => folder))
  t.strictSame(excluded.toSorted(), together.toSorted())
  t.end()
})
