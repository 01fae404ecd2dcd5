// Runs the tests of centrifuge-js. They are not on npm: `--suite` names a clone of its repository.

import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { startNode } from '../support/node.ts'
import type { Found } from './conformance.ts'

const FOLDER = join(import.meta.dirname, '../../.cache/conformance/centrifuge')
const FILES = ['centrifuge', 'recovery', 'getstate']
const HOW = `--suite names a clone of centrifuge-js with its dependencies:
  git clone https://github.com/centrifugal/centrifuge-js
  cd centrifuge-js && npm install --legacy-peer-deps --ignore-scripts`
const run = promisify(execFile)

/** As in the suite's centrifugo_test.json: no client is authenticated. */
const RULES = {
  default: { subscribe: 'anyone', publish: 'anyone', presence: true },
  channels: [
    {
      match: 'smallhistory:*',
      subscribe: 'anyone',
      publish: 'anyone',
      history: { events: 2, age: '300s' },
    },
  ],
}

/** The API key that the suite uses. */
const KEYS = [
  {
    id: 'tests',
    sha256: createHash('sha256').update('test-api-key').digest('hex'),
    allow: ['publish', 'subscribe', 'history', 'presence', 'admin'],
    channels: ['*'],
  },
]

/** Features that fanwire does not have, each with a pattern that matches the titles of its cases. */
const LEFT_OUT: readonly (readonly [why: string, cases: RegExp])[] = [
  ['map subscriptions', /\bmap\b/i],
  ['shared poll', /shared ?poll/i],
]

interface Case {
  readonly title: string
  readonly fullName: string
  readonly status: string
}

interface Report {
  readonly testResults: readonly { readonly assertionResults: readonly Case[] }[]
}

export async function centrifuge(say: (text: string) => void, suite: string | undefined): Promise<Found> {
  if (suite === undefined || !existsSync(join(suite, 'node_modules/.bin/jest'))) throw new Error(HOW)
  mkdirSync(FOLDER, { recursive: true })
  const rules = join(FOLDER, 'rules.json')
  writeFileSync(rules, JSON.stringify(RULES))
  const keys = join(FOLDER, 'keys.json')
  writeFileSync(keys, JSON.stringify(KEYS))
  // The port is fixed in the suite.
  const env = {
    PORT: '8000',
    FANWIRE_CENTRIFUGE: '1',
    FANWIRE_RULES: rules,
    FANWIRE_KEYS_FILE: keys,
    FANWIRE_PRESENCE_GRACE: '100ms',
    FANWIRE_HISTORY_EVENTS: '100',
    FANWIRE_HISTORY_AGE: '300s',
  }
  const node = await startNode({ env, built: true })
  try {
    const { version } = JSON.parse(readFileSync(join(suite, 'package.json'), 'utf8'))
    say(`centrifuge-js ${version} against http://127.0.0.1:${node.port}`)
    return judge(await report(suite))
  } finally {
    await node.stop()
  }
}

/** Runs each file in a separate process: leftovers of a failed case would fail cases of the next. */
async function report(suite: string): Promise<Report> {
  const testResults: Report['testResults'][number][] = []
  for (const name of FILES) {
    const results = join(FOLDER, `${name}.json`)
    const args = [`src/${name}.test.ts`, '--json', `--outputFile=${results}`, '--forceExit']
    // jest exits with an error if a case fails, and the cases of maps do.
    await run('node_modules/.bin/jest', args, { cwd: suite, maxBuffer: 64 * 1024 * 1024 }).catch(() => {})
    testResults.push(...(JSON.parse(readFileSync(results, 'utf8')) as Report).testResults)
  }
  return { testResults }
}

function judge({ testResults }: Report): Found {
  // The suite itself skips cases about browsers without WebSocket.
  const all = testResults.flatMap(({ assertionResults }) => assertionResults)
  const cases = all.filter(({ status }) => status === 'passed' || status === 'failed')
  const failed = cases.filter(({ status }) => status === 'failed')
  const leftOut: Record<string, number> = {}
  const others = failed.filter(({ title }) => {
    const why = LEFT_OUT.find(([, names]) => names.test(title))?.[0]
    if (why !== undefined) leftOut[why] = (leftOut[why] ?? 0) + 1
    return why === undefined
  })
  return {
    cases: cases.length,
    passed: cases.length - failed.length,
    leftOut,
    failed: others.map(({ fullName }) => fullName),
  }
}
