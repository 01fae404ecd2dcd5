// The package works as a user gets it: packed from a clean copy of the repository and installed into an empty folder.

import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { blocksOf } from './docs/blocks.ts'
import { Reading } from './support/reading.ts'
import { temporaryFolder } from './support/tools.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
// Long, because npm installs from the registry.
t.setTimeout(900_000)

const FOLDER = temporaryFolder()
const APP = join(FOLDER, 'app')
const NPM = ['--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error']
/** The environment without fanwire's settings. */
const ENV = { PATH: process.env.PATH, HOME: process.env.HOME, npm_config_cache: process.env.npm_config_cache }

function npm(cwd: string, ...args: string[]): string {
  return execFileSync('npm', [...args, ...NPM], { cwd, env: ENV, encoding: 'utf8' })
}

/** Copies the files that are or will be committed. Returns the folder. */
function cleanCopy(): string {
  const copy = join(FOLDER, 'copy')
  mkdirSync(copy)
  const files = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: ROOT,
  })
  const archive = execFileSync('tar', ['--create', '--null', '--ignore-failed-read', '--files-from=-'], {
    cwd: ROOT,
    input: files,
    stdio: ['pipe', 'pipe', 'ignore'],
    maxBuffer: 2 ** 28,
  })
  execFileSync('tar', ['--extract'], { cwd: copy, input: archive })
  return copy
}

/** Runs `npm pack`. Returns the tarball and the paths in it. */
function pack(copy: string, ...args: string[]): { file: string; paths: string[] } {
  const [packed] = JSON.parse(npm(copy, 'pack', '--json', '--pack-destination', FOLDER, ...args)) as [
    { filename: string; files: { path: string }[] },
  ]
  return { file: join(FOLDER, packed.filename), paths: packed.files.map(({ path }) => path) }
}

/** Signals a process and everything that it started, like Ctrl-C in a terminal. */
function signalGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (pid !== undefined) process.kill(-pid, signal)
  } catch {
    // The processes have ended.
  }
}

const copy = cleanCopy()
// Only checks the lock file: a full installation is the first step of .ci/run.
npm(copy, 'ci', '--dry-run')
symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'))
const node = pack(copy)
// The first pack has built the load tests already.
const bench = pack(copy, '--workspace', 'bench', '--ignore-scripts')
mkdirSync(APP)
writeFileSync(join(APP, 'package.json'), '{"name":"app","private":true,"type":"module"}\n')
npm(APP, 'install', node.file)

t.test('the package holds the runtime files and nothing else', async t => {
  const kinds = new Set(
    node.paths.map(path => path.replace(/^dist\/(?:services|client)\/.*?\.(js|lua|d\.ts)$/, '*.$1')),
  )
  t.same([...kinds].sort(), [
    '*.d.ts',
    '*.js',
    '*.lua',
    'LICENSE',
    'README.md',
    'dist/console/console.css',
    'dist/console/console.js',
    'dist/console/icon.svg',
    'dist/console/index.html',
    'openapi.json',
    'package.json',
    'rules.schema.json',
  ])
  const sources = readdirSync(join(ROOT, 'services'), { recursive: true, encoding: 'utf8' })
  for (const source of sources.filter(path => path.endsWith('.ts'))) {
    t.ok(node.paths.includes(`dist/services/${source.replace(/ts$/, 'js')}`), source)
  }
  const { exports } = JSON.parse(readFileSync(join(copy, 'package.json'), 'utf8')) as {
    exports: Record<string, string | Record<string, string>>
  }
  for (const path of Object.values(exports).flatMap(each =>
    typeof each === 'string' ? each : Object.values(each),
  ))
    t.ok(node.paths.includes(path.slice(2)), path)
  for (const name of ['autocannon', 'vega', 'fanwire-bench', 'express', 'typescript', 'react', 'vue']) {
    t.notOk(readdirSync(join(APP, 'node_modules')).includes(name), `${name} is not installed`)
  }
})

t.test(
  'without the packages for traces, the node does not start, and names the packages to install',
  async t => {
    const env = { ...ENV, PORT: '0', FANWIRE_OTEL: '1' }
    const { status, stdout, stderr } = spawnSync('npx', ['fanwire'], { cwd: APP, env, encoding: 'utf8' })
    t.equal(status, 1)
    t.match(`${stdout}${stderr}`, /FW_OTEL_PACKAGES: .*npm install @opentelemetry\/api@1 /)
  },
)

/** Starts a node by a command in its own process group. Returns, once it listens, its URL and a function to stop it. */
async function serving(
  t: Test,
  cwd: string,
  command: string,
): Promise<{ url: string; stop(): Promise<void> }> {
  const child = spawn('bash', ['-c', command], {
    cwd,
    // It stops fast, because a signal that npm forwards late, on a busy machine, would end a node that still drains.
    env: { ...ENV, PORT: '0', FANWIRE_DRAIN: '0ms' },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  t.teardown(() => signalGroup(child, 'SIGKILL'))
  child.stderr.resume()
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const next = async (pattern: RegExp): Promise<string> => {
    for (let line = await lines.next(); line.done !== true; line = await lines.next()) {
      const found = pattern.exec(line.value)
      if (found !== null) return found[1] ?? ''
    }
    throw new Error(`${command} ended without ${pattern}`)
  }
  return {
    url: await next(/"listening on (http:[^"]+)"/),
    async stop() {
      signalGroup(child, 'SIGTERM')
      await next(/"msg":"(stopped)"/)
    },
  }
}

async function publishAndRead(t: Test, url: string): Promise<void> {
  const published = await fetch(`${url}/v1/channels/news/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"hello":"world"}',
  })
  t.equal(published.status, 201)
  const read = (await (await fetch(`${url}/v1/poll?channel=news`)).json()) as { events: { data: unknown }[] }
  t.same(
    read.events.map(({ data }) => data),
    [{ hello: 'world' }],
  )
}

t.test('the installed package runs in an empty folder: publish, then read', async t => {
  const { url, stop } = await serving(t, APP, 'npx fanwire')
  await publishAndRead(t, url)
  await stop()
})

t.test('the start command of README runs in a clean clone', async t => {
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')
  const [, command = ''] = /<!-- start command -->\n```sh\n(.*?)\n```/s.exec(readme) ?? []
  t.equal(command, 'npm ci && npm start')
  const { url, stop } = await serving(t, copy, 'npm start')
  await publishAndRead(t, url)
  const reader = new Reading(await fetch(`${url}/v1/stream?channel=news`))
  await reader.until(/"open"/)
  // The signal reaches the node twice, as Ctrl-C does: directly, and by npm.
  await stop()
  t.match(await reader.until(/$never/), /"reason":"the node is stopping"/)
})

interface Compilation {
  readonly files: readonly string[]
  /** TypeScript before version 7, or the current version, which is faster. */
  readonly compiler: 'typescript' | 'typescript-native'
  readonly [option: string]: unknown
}

/** Compiles files of the app. Returns the errors. */
function compile({ files, compiler, ...options }: Compilation): string {
  const compilerOptions = {
    strict: true,
    target: 'es2023',
    module: 'nodenext',
    typeRoots: [join(ROOT, 'node_modules/@types')],
    types: ['node'],
    ...options,
  }
  writeFileSync(join(APP, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }))
  const tsc = join(ROOT, 'node_modules', compiler, 'bin/tsc')
  const { stdout, stderr } = spawnSync(process.execPath, [tsc], { cwd: APP, encoding: 'utf8' })
  return stdout + stderr
}

t.test('a program starts a node inside itself', async t => {
  writeFileSync(
    join(APP, 'app.ts'),
    `import { type Event, type Gap, startNode } from 'fanwire'
import { connect, type Subscription } from 'fanwire/client'
import { createPublisher } from 'fanwire/publisher'
const node = await startNode({ PORT: '0', LOG_LEVEL: 'silent' })
const body = JSON.stringify({ n: 1 })
const headers = { 'content-type': 'application/json' }
await fetch(\`\${node.url}/v1/channels/a/events\`, { method: 'POST', headers, body })
const page = (await (await fetch(\`\${node.url}/v1/poll?channel=a\`)).json()) as { events: Event<{ n: number }>[]; gaps?: Gap[] }
console.log(page.events.map(event => event.data.n), page.gaps)
const publisher = createPublisher(node.url)
await publisher.publish('a', { n: 2 })
const client = connect(node.url)
const subscription: Subscription<{ n: number }> = client.subscribe('a', { cursor: 'earliest' })
for await (const event of subscription) {
  console.log(event.data.n)
  if (event.data.n === 2) break
}
client.close()
await node.close()
console.log(await startNode({ PORT: 'x' }).catch((error: Error) => error.message))
`,
  )
  t.equal(compile({ files: ['app.ts'], compiler: 'typescript' }), '')
  const ran = spawnSync(process.execPath, ['app.js'], { cwd: APP, env: ENV, encoding: 'utf8' })
  t.equal(ran.stderr, '')
  t.match(ran.stdout, /^\[ 1 \] undefined\n1\n2\nPORT is "x"; expected an integer/)
})

t.test('the examples of docs/client.md fit the types of the package', async t => {
  const examples = blocksOf('docs/client.md').filter(
    ({ language, text }) => language === 'js' && text.includes("from 'fanwire/"),
  )
  const files = examples.map(({ text }, i) => {
    writeFileSync(join(APP, `example-${i}.js`), text)
    return `example-${i}.js`
  })
  writeFileSync(
    join(APP, 'hooks.ts'),
    `import { connect } from 'fanwire/client'
import { FanwireProvider, useChannel, useConnection, usePresence } from 'fanwire/react'
const App = (): string[] => {
  const { events } = useChannel<{ title: string }>('news', { cursor: 'last:20', keep: 50 })
  const users = usePresence('news').map(({ user }) => user)
  return [...events.map(({ data }) => data.title), ...users, useConnection().name]
}
FanwireProvider({ client: connect('http://127.0.0.1:8080'), children: App })
`,
  )
  const paths = { vue: [join(ROOT, 'node_modules/vue/dist/vue.d.mts')] }
  t.equal(files.length, 3, 'client, Vue and publisher')
  const options = {
    compiler: 'typescript-native',
    allowJs: true,
    checkJs: true,
    noEmit: true,
    paths,
  } as const
  t.equal(compile({ ...options, files: [...files, 'hooks.ts'] }), '')
})

t.test('fanwire bench and plan name the package to install, and run once it is installed', async t => {
  const plan = () =>
    spawnSync('npx', ['fanwire', 'plan', '--clients', '1000'], { cwd: APP, env: ENV, encoding: 'utf8' })
  const before = plan()
  t.equal(before.status, 3)
  t.match(before.stderr, /fanwire-bench is not installed: run npm install fanwire-bench/)
  npm(APP, 'install', bench.file)
  const after = plan()
  t.equal(after.status, 0, after.stderr)
  t.match(after.stdout, /1,000 clients over ws/)
  const help = spawnSync('npx', ['fanwire', 'bench', '--help'], { cwd: APP, env: ENV, encoding: 'utf8' })
  t.match(help.stdout, /Usage: fanwire bench/)
})

t.test("package.json has the project's URLs", async t => {
  for (const path of ['package.json', 'bench/package.json']) {
    const { repository, bugs, homepage, version } = JSON.parse(readFileSync(join(ROOT, path), 'utf8'))
    t.match(repository.url, /^git\+https:\/\/github\.com\/fanwire\/fanwire\.git$/, path)
    t.match(bugs.url, /^https:\/\/github\.com\/fanwire\/fanwire\/issues$/, path)
    t.match(homepage, /^https:\/\//, path)
    t.equal(version, JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).version, path)
  }
})
