// Runs the suite of Mercure's hub in the system's own Chromium. It is not on npm: `--suite` names a clone of its
// repository.

import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { startNode } from '../support/node.ts'
import { pathOf } from '../support/tools.ts'
import { jwks, secretKey } from '../support/tokens.ts'
import type { Found } from './conformance.ts'

const FOLDER = join(import.meta.dirname, '../../.cache/conformance/mercure')
const HOW = `--suite names the folder conformance-tests of a clone of mercure, with its dependencies:
  git clone https://github.com/dunglas/mercure
  cd mercure/conformance-tests && npm install --ignore-scripts`
const run = promisify(execFile)

/** The suite's token is signed with the secret of Mercure's examples. */
const KEY = secretKey('HS256', 'example', {}, '!ChangeThisMercureHubJWTSecretKey!')
const RULES = { default: { subscribe: ['anyone', 'token'], publish: 'token' } }

interface Spec {
  readonly title: string
  readonly ok: boolean
}

interface Suite {
  readonly specs?: readonly Spec[]
  readonly suites?: readonly Suite[]
}

export async function mercure(say: (text: string) => void, suite: string | undefined): Promise<Found> {
  const chromium = pathOf('chromium')
  if (suite === undefined || !existsSync(join(suite, 'node_modules/.bin/playwright'))) throw new Error(HOW)
  if (chromium === undefined) throw new Error('chromium is not installed: apt-get install chromium')
  const folder = resolve(suite)
  mkdirSync(FOLDER, { recursive: true })
  const file = (name: string, text: string) => {
    writeFileSync(join(FOLDER, name), text)
    return join(FOLDER, name)
  }
  const env = {
    FANWIRE_MERCURE: '1',
    FANWIRE_JWT_KEYS_FILE: file('keys.json', jwks(KEY)),
    FANWIRE_RULES: file('rules.json', JSON.stringify(RULES)),
  }
  const node = await startNode({ env, built: true })
  try {
    say(`the suite of Mercure against ${node.url}`)
    const results = join(FOLDER, 'results.json')
    rmSync(results, { force: true })
    // The suite's own settings need three downloaded browsers.
    const use = {
      baseURL: node.url,
      launchOptions: { executablePath: chromium, args: ['--no-sandbox'] },
    }
    const config = { testDir: folder, outputDir: join(FOLDER, 'output'), timeout: 10_000, workers: 1, use }
    const settings = file('playwright.config.mjs', `export default ${JSON.stringify(config)}`)
    const options = {
      cwd: folder,
      env: { ...process.env, CUSTOM_ID: '1', PLAYWRIGHT_JSON_OUTPUT_NAME: results },
      maxBuffer: 64 * 1024 * 1024,
    }
    const args = ['test', '--config', settings, '--reporter=json']
    // playwright exits with an error if a case fails.
    await run(join(folder, 'node_modules/.bin/playwright'), args, options).catch(() => {})
    return judge(JSON.parse(readFileSync(results, 'utf8')) as Suite)
  } finally {
    await node.stop()
  }
}

function judge(report: Suite): Found {
  const cases = specsOf(report)
  const failed = cases.filter(({ ok }) => !ok).map(({ title }) => title)
  return { cases: cases.length, passed: cases.length - failed.length, leftOut: {}, failed }
}

function specsOf({ specs = [], suites = [] }: Suite): Spec[] {
  return [...specs, ...suites.flatMap(specsOf)]
}
