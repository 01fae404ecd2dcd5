// Runs the tests of soketi against a node in place of soketi's server. They are not on npm: `--suite` names a clone of
// soketi's repository.

import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import type { Found } from './conformance.ts'

const ROOT = join(import.meta.dirname, '../..')
const FOLDER = join(ROOT, '.cache/conformance/pusher')
const FILES = ['http-api', 'ws', 'webhooks', 'public', 'private', 'presence', 'encrypted-private']
const HOW = `--suite names a clone of soketi with its dependencies:
  git clone https://github.com/soketi/soketi
  cd soketi && npm install --ignore-scripts`
const execute = promisify(execFile)

/** Every client may subscribe. All channels have presence, because soketi reports on all of them. */
const RULES = { default: { subscribe: 'anyone', publish: 'token', presence: true } }

/** The API key of requests for the node's connections. */
const ADMIN_KEY = 'admin-key-of-the-tests'
const KEYS = [
  {
    id: 'admin',
    sha256: createHash('sha256').update(ADMIN_KEY).digest('hex'),
    allow: ['admin', 'presence'],
    channels: ['*'],
  },
]

/** Cases that are not run: the reasons, and patterns that match their titles. */
const LEFT_OUT: readonly (readonly [why: string, cases: RegExp])[] = [
  [
    'errors that soketi answers with status 200',
    /will return 404|cannot read users|credentials dont match|eventLimits\.max/,
  ],
  ['limits that are fixed', /channelLimits\.maxNameLength|event name is big|presence\.max/],
  ['usage endpoint', /usage endpoint/],
  ['webhooks through AWS', /lambda webhooks|sqs batching/],
  ["webhooks' headers", /custom headers/],
  ['webhook cache_miss', /webhooks from cache_miss/],
]

interface Case {
  readonly title: string
  readonly fullName: string
  readonly status: string
  readonly failureMessages: readonly string[]
}

interface Report {
  readonly testResults: readonly { readonly assertionResults: readonly Case[] }[]
}

export async function pusher(say: (text: string) => void, suite: string | undefined): Promise<Found> {
  if (suite === undefined || !existsSync(join(suite, 'node_modules/.bin/jest'))) throw new Error(HOW)
  const folder = resolve(suite)
  mkdirSync(FOLDER, { recursive: true })
  writeFileSync(join(FOLDER, 'rules.json'), JSON.stringify(RULES))
  writeFileSync(join(FOLDER, 'keys.json'), JSON.stringify(KEYS))
  writeFileSync(join(FOLDER, 'jest.config.cjs'), configOf(folder))
  const cases: Case[] = []
  for (const name of FILES) {
    const found = await casesOf(folder, name)
    const count = (status: string) => found.filter(each => each.status === status).length
    say(`${name}: ${count('passed')} of ${count('passed') + count('failed')} passed`)
    cases.push(...found)
  }
  return judge(cases)
}

/** soketi's jest configuration, with a node in place of the server. */
function configOf(folder: string): string {
  const server = join(import.meta.dirname, 'soketi-server.ts')
  const own = {
    rootDir: folder,
    collectCoverage: false,
    moduleNameMapper: { '/src/(server|app|log|message|webhook-sender)$': server },
  }
  return `module.exports = { ...require(${JSON.stringify(join(folder, 'jest.config.js'))}), ...${JSON.stringify(own)} }`
}

/** Runs the cases of a file, and each failed case again alone: clients left over from earlier ones can make it fail. */
async function casesOf(folder: string, name: string): Promise<readonly Case[]> {
  const others = `^(?!.*(${LEFT_OUT.map(([, names]) => names.source).join('|')}))`
  const cases = [...(await run(folder, name, others))]
  for (const [at, { fullName, status }] of cases.entries()) {
    if (status !== 'failed') continue
    const alone = await run(folder, name, `^${fullName.replace(/[^\w\s]/g, '\\$&')}$`)
    cases[at] = alone.find(each => each.fullName === fullName) ?? (cases[at] as Case)
  }
  return cases
}

/** Runs the cases whose names match `pattern`. Raises if jest has no results. */
async function run(folder: string, name: string, pattern: string): Promise<readonly Case[]> {
  const results = join(FOLDER, `${name}.json`)
  rmSync(results, { force: true })
  const args = [`tests/${name}.test.ts`, '--config', join(FOLDER, 'jest.config.cjs'), '-t', pattern]
  const env = {
    ...process.env,
    CONFORMANCE_MAIN: join(ROOT, 'dist/services/main.js'),
    CONFORMANCE_FOLDER: FOLDER,
    CONFORMANCE_KEY: ADMIN_KEY,
    // Some cases leave rejected promises unhandled, which was only a warning before Node 15.
    NODE_OPTIONS: '--unhandled-rejections=warn',
  }
  const options = { cwd: folder, env, maxBuffer: 64 * 1024 * 1024 }
  // jest exits with an error if a case fails.
  const output = ['--json', `--outputFile=${results}`, '--forceExit']
  await execute('node_modules/.bin/jest', [...args, ...output], options).catch(() => {})
  const { testResults } = JSON.parse(readFileSync(results, 'utf8')) as Report
  return testResults.flatMap(({ assertionResults }) => assertionResults)
}

function judge(cases: readonly Case[]): Found {
  const leftOut: Record<string, number> = {}
  for (const { title, status } of cases) {
    const why = LEFT_OUT.find(([, names]) => names.test(title))?.[0]
    if (why !== undefined && status === 'pending') leftOut[why] = (leftOut[why] ?? 0) + 1
  }
  return {
    cases: cases.length,
    passed: cases.filter(({ status }) => status === 'passed').length,
    leftOut,
    failed: cases
      .filter(({ status }) => status === 'failed')
      .map(({ title, failureMessages: [first = ''] }) => `${title}: ${first.split('\n', 1)[0]}`),
  }
}
