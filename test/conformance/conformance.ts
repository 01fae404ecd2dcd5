// npm run conformance -- <protocol>: a protocol's own suite, unmodified, against a node. What it needs is fetched into
// `.cache/conformance`, or is in the folder that `--suite` names.

import { parseArgs } from 'node:util'
import { centrifuge } from './centrifuge.ts'
import { durableStreams } from './durable-streams.ts'
import { mercure } from './mercure.ts'

/** What a suite found. */
export interface Found {
  readonly cases: number
  readonly passed: number
  /** What fanwire leaves out, by why. */
  readonly leftOut: Readonly<Record<string, number>>
  /** Names of the cases that failed, and should not have. */
  readonly failed: readonly string[]
}

type Suite = (say: (text: string) => void, folder: string | undefined) => Promise<Found>

const SUITES: Readonly<Record<string, Suite>> = {
  centrifuge,
  'durable-streams': durableStreams,
  mercure,
}

const say = (text: string) => void process.stdout.write(`${text}\n`)
const { positionals, values } = parseArgs({ allowPositionals: true, options: { suite: { type: 'string' } } })
const [name = ''] = positionals
const suite = SUITES[name]
if (suite === undefined) {
  say(`npm run conformance -- ${Object.keys(SUITES).join(' | ')} [--suite FOLDER]`)
  process.exitCode = 2
} else {
  const { cases, passed, leftOut, failed } = await suite(say, values.suite)
  for (const each of failed) say(`failed: ${each}`)
  say(`\n| suite | cases | passed | left out | failed |\n|---|---|---|---|---|`)
  const left = Object.entries(leftOut).map(([why, count]) => `${count} (${why})`)
  say(`| ${name} | ${cases} | ${passed} | ${left.join(', ')} | ${failed.length} |`)
  if (failed.length > 0) process.exitCode = 1
}
