// Runs the Durable Streams suite for servers, from npm.

import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { startNode } from '../support/node.ts'
import type { Found } from './conformance.ts'

const SUITE = '@durable-streams/server-conformance-tests'
const VERSION = '0.3.6'
const FOLDER = join(import.meta.dirname, '../../.cache/conformance/durable-streams')
const run = promisify(execFile)

const SETTINGS = {
  FANWIRE_DURABLE_STREAMS: '1',
  // The suite sends a body of 10 MB, and requests as from a page of another origin.
  FANWIRE_MAX_BODY: '16MiB',
  FANWIRE_ORIGINS: '*',
}

/** The part of the runner's output that is read here. */
interface Report {
  readonly testResults: readonly {
    readonly assertionResults: readonly { readonly fullName: string; readonly status: string }[]
  }[]
}

export async function durableStreams(say: (text: string) => void): Promise<Found> {
  await fetchSuite(say)
  const node = await startNode({ env: SETTINGS, built: true })
  try {
    say(`${SUITE} ${VERSION} against http://127.0.0.1:${node.port}`)
    return judge(await report(node.port))
  } finally {
    await node.stop()
  }
}

async function fetchSuite(say: (text: string) => void): Promise<void> {
  const installed = join(FOLDER, 'node_modules', SUITE, 'package.json')
  if (existsSync(installed) && JSON.parse(readFileSync(installed, 'utf8')).version === VERSION) return
  say(`fetching ${SUITE}@${VERSION}`)
  mkdirSync(FOLDER, { recursive: true })
  writeFileSync(join(FOLDER, 'package.json'), '{"private":true}')
  await run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', `${SUITE}@${VERSION}`], {
    cwd: FOLDER,
  })
}

/** Runs the suite. Returns its report. The timeout is longer than the default 5 s, because long polls take longer. */
async function report(port: number): Promise<Report> {
  const config = join(FOLDER, 'vitest.config.mjs')
  const results = join(FOLDER, 'results.json')
  const root = join(FOLDER, 'node_modules', SUITE, 'dist')
  const test = { root, include: ['test-runner.js'], exclude: [], testTimeout: 30_000 }
  writeFileSync(config, `export default ${JSON.stringify({ test })}`)
  const args = ['run', '--config', config, '--reporter=json', `--outputFile=${results}`]
  const env = { ...process.env, CONFORMANCE_TEST_URL: `http://127.0.0.1:${port}` }
  // vitest exits with an error if a case fails, and the cases of forks do.
  await run(join(FOLDER, 'node_modules/.bin/vitest'), args, { cwd: FOLDER, env }).catch(() => {})
  return JSON.parse(readFileSync(results, 'utf8')) as Report
}

function judge({ testResults }: Report): Found {
  const all = testResults.flatMap(({ assertionResults }) => assertionResults)
  // The cases of subscriptions are not run, because the command has no option for them.
  const cases = all.filter(({ status }) => status === 'passed' || status === 'failed')
  const failed = cases.filter(({ status }) => status === 'failed').map(({ fullName }) => fullName)
  const forks = failed.filter(name => name.startsWith('Fork - '))
  return {
    cases: cases.length,
    passed: cases.length - failed.length,
    leftOut: { forks: forks.length, subscriptions: all.length - cases.length },
    failed: failed.filter(name => !forks.includes(name)),
  }
}
