// `npm run test:runtimes`: checks the client's contract on Node, Deno and Bun, which come from npm.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { build } from 'esbuild'
import { denoOrBun, nodeOf } from '../../infra/local/node-versions.ts'
import { startMemoryNode } from '../contract/node.ts'
import { argumentsOf, Misused, runMain } from '../support/command-line.ts'
import { startFaultyProxy } from '../support/faulty-proxy.ts'
import { temporaryFolder } from '../support/tools.ts'
import type { Places } from './suite.ts'

const ALL = ['20.19', '22', '24', '26', 'deno', 'bun']
/** Maximum time for one runtime. */
const WITHIN_MS = 120_000

const HELP = `npm run test:runtimes -- [RUNTIME…]

Checks the client's contract on each runtime, which comes from npm into .cache/.

  RUNTIME  deno, bun or a version of Node; by default, all of ${ALL.join(', ')}

Exit codes: 0 all checks passed, 1 otherwise, 2 wrong usage.
`

/** Bundles the suite into one program. Returns its path. */
async function programOf(places: Places): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [join(import.meta.dirname, 'suite.ts')],
    bundle: true,
    format: 'esm',
    target: 'es2022',
    write: false,
  })
  const path = join(temporaryFolder(), 'suite.mjs')
  const run = `import process from 'node:process'
globalThis.RUN = run => run(${JSON.stringify(places)}, line => console.log(line)).then(good => process.exit(good ? 0 : 1))
`
  writeFileSync(path, run + (outputFiles[0]?.text ?? ''))
  return path
}

/** Runs the suite on a runtime. Returns whether all checks passed. */
async function passes(name: string): Promise<boolean> {
  const node = await startMemoryNode()
  let cut = 0
  const cutting = await startFaultyProxy(node.port, { cutAfter: () => 300 + ((cut++ * 397) % 3000) })
  const blocking = await startFaultyProxy(node.port, { blockUpgrades: true, buffer: /\/v1\/(sse|stream)/ })
  const direct = `http://127.0.0.1:${node.port}`
  const program = await programOf({ direct, cutting: cutting.url, blocking: blocking.url })
  const [command, ...args] =
    name === 'deno'
      ? [await denoOrBun(name), 'run', '--no-prompt', '--allow-net=127.0.0.1', program]
      : [await (name === 'bun' ? denoOrBun(name) : nodeOf(name)), program]
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], timeout: WITHIN_MS })
  const ended = once(child, 'close')
  for await (const line of createInterface({ input: child.stdout })) console.log(`${name}: ${line}`)
  const [code] = await ended
  console.log(`${name}: ${code === 0 ? 'passed' : 'FAILED'}, ${cutting.cuts} connections cut`)
  cutting.close()
  blocking.close()
  await node.close()
  return code === 0
}

async function main(): Promise<void> {
  const { help, args } = argumentsOf()
  if (help) return void process.stdout.write(HELP)
  for (const name of args)
    if (!/^(\d+(\.\d+)*|deno|bun)$/.test(name)) throw new Misused(`there is no runtime ${name}`)
  let good = true
  for (const name of args.length > 0 ? args : ALL) good = (await passes(name)) && good
  process.exit(good ? 0 : 1)
}

await runMain(main, HELP)
