// `npm run test:node`: runs tests on other versions of Node than the current one, one version after the other.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { isRunning, nodeOf } from '../infra/local/node-versions.ts'
import { argumentsOf, Misused, runMain } from './support/command-line.ts'

const ROOT = join(import.meta.dirname, '..')
const TAP = join(ROOT, 'node_modules/tap/dist/esm/run.mjs')
const OLDEST = '20.19'
const NEWEST = '26'
const ALL = [OLDEST, '22', '24', NEWEST]

const HELP = `npm run test:node -- [VERSION…] [FILE…]

Runs the tests on each version of Node, which comes from npm into .cache/.

  VERSION  ${ALL.join(', ')}, or all of these; without it, tests that depend on Node, on ${OLDEST} and ${NEWEST}
  FILE     only these test files

Examples: npm run test:node -- 22
          npm run test:node -- ${NEWEST} test/package.test.ts
Exit codes: 0 all tests passed, 1 otherwise, 2 wrong usage.
`

/** Tests that depend on Node: processes, sockets, both versions of HTTP, all wires, the log and its connections. */
const CLOSE_TO_NODE = [
  'unit/node/process',
  'unit/http/node-internals',
  'unit/http/half-closed',
  'unit/http/pipelining',
  'unit/http/unrouted',
  'unit/http2/http2',
  'unit/http2/sessions',
  'unit/wires/memory',
  'unit/wires/direct-writes',
  'unit/wires/http2',
  'unit/wires/push',
  'unit/broker/log/memory',
  'integration/log-redis',
  'integration/refused-handshakes',
].map(name => `test/${name}.test.ts`)

/** Runs test files (all by default) on a version of Node. Returns whether all passed. Raises if a file is missing. */
async function passes(version: string, files: readonly string[]): Promise<boolean> {
  // tap ignores a missing file.
  const missing = files.find(file => !existsSync(join(ROOT, file)))
  if (missing !== undefined) throw new Error(`There is no ${missing}.`)
  const node = await nodeOf(version)
  console.error(`On Node ${version}:`)
  // Child processes that run `node` find this version as well.
  const PATH = [dirname(node), process.env.PATH].join(delimiter)
  const child = spawn(node, [TAP, ...files], { cwd: ROOT, env: { ...process.env, PATH }, stdio: 'inherit' })
  const [code] = await once(child, 'exit')
  return code === 0
}

/** One minor version of each major version is enough. */
const major = (version: string) => version.split('.', 1)[0] ?? ''

async function main(): Promise<void> {
  const { help, args } = argumentsOf()
  if (help) return void process.stdout.write(HELP)
  const versions = args.filter(each => /^\d+(\.\d+)*$/.test(each))
  const files = args.filter(each => each !== 'all' && !versions.includes(each))
  const chosen = args.includes('all') ? ALL : versions
  if (files.length > 0 && chosen.length === 0) throw new Misused('name a version of Node before the files')
  const plan =
    chosen.length > 0
      ? chosen.map(version => ({ version, files }))
      : [OLDEST, NEWEST]
          .filter(each => !isRunning(major(each)))
          .map(version => ({ version, files: CLOSE_TO_NODE }))

  let passed = true
  try {
    for (const { version, files } of plan) passed = (await passes(version, files)) && passed
  } catch (error) {
    console.error((error as Error).message)
    passed = false
  }
  process.exitCode = passed ? 0 : 1
}

await runMain(main, HELP)
