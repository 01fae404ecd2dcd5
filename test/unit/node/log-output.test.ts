// The log's output while its reader is slow, or reads nothing more.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'

const STRIP_TYPES = fileURLToPath(new URL('../../strip-types.js', import.meta.url))
const MODULE = new URL('../../../services/node/log-output.ts', import.meta.url).href
const LINES = 40_000

/** Starts a process that logs lines of 1 KB to a pipe, all at once, and then runs `code`. */
function logging(t: Test, lines: number, code: string): ChildProcess {
  const script = `
    const { LogOutput } = await import('${MODULE}')
    const output = new LogOutput(1)
    for (let n = 0; n < ${lines}; n++) output.write(JSON.stringify({ n, msg: 'x'.repeat(1000) }) + '\\n')
    ${code}`
  const child = spawn(process.execPath, [`--import=${STRIP_TYPES}`, '--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  return child
}

t.test('lines wait for a slow reader; what is too much is dropped and counted', async t => {
  const child = logging(t, LINES, `process.send('logged')`)
  await once(child, 'message')
  const pieces = (await child.stdout?.toArray()) as Buffer[]
  const lines = Buffer.concat(pieces).toString().trim().split('\n')
  const [last, ...others] = lines.toReversed().map(line => JSON.parse(line) as { n: number })
  t.ok(others.length > 5000 && others.length < LINES / 2, `${others.length} lines`)
  t.strictSame(
    others.toReversed().map(({ n }) => n),
    others.map((_, i) => i),
    'the first lines, in order',
  )
  t.match(last, { level: 40, msg: `${LINES - others.length} lines of the log were dropped` })
})

t.test('a process ends although nobody reads its log', async t => {
  const child = logging(t, 2000, 'process.exit(7)')
  t.strictSame(await once(child, 'exit'), [7, null])
})
