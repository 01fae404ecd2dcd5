// npm run conformance -- <protocol>: runs a protocol's own suite, unmodified, against a node. A suite on npm is fetched
// into .cache/conformance; `--suite` names the folder of any other.

import { parseArgs } from 'node:util'
import { centrifuge } from './centrifuge.ts'
import { durableStreams } from './durable-streams.ts'
import { mercure } from './mercure.ts'
import { pusher } from './pusher.ts'

/** Results of a suite. */
export interface Found {
  readonly cases: number
  readonly passed: number
  /** Number of omitted cases, by reason. */
  readonly leftOut: Readonly<Record<string, number>>
  /** Names of the cases that failed unexpectedly. */
  readonly failed: readonly string[]
}

type Suite = (say: (text: string) => void, folder: string | undefined) => Promise<Found>

const SUITES: Readonly<Record<string, Suite>> = {
  centrifuge,
  'durable-streams': durableStreams,
  mercure,
  pusher,
}

const HELP = `npm run conformance -- ${Object.keys(SUITES).join(' | ')} [--suite FOLDER]

Runs the protocol's own suite against a node, and prints the failed cases, except those of features that fanwire does
not have.

  --suite FOLDER  the folder of a suite that is not on npm; without it, the instructions to get the suite are printed.
                  durable-streams is on npm, and is fetched into .cache/conformance

Exit codes: 0 no such case failed, 1 some failed, 2 wrong usage.`

const say = (text: string) => void process.stdout.write(`${text}\n`)
const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { suite: { type: 'string' }, help: { type: 'boolean' } },
})
const [name = ''] = positionals
const suite = SUITES[name]
if (values.help || suite === undefined) {
  say(HELP)
  process.exitCode = values.help ? 0 : 2
} else {
  const { cases, passed, leftOut, failed } = await suite(say, values.suite)
  for (const each of failed) say(`failed: ${each}`)
  say(`\n| suite | cases | passed | left out | failed |\n|---|---|---|---|---|`)
  const left = Object.entries(leftOut).map(([why, count]) => `${count} (${why})`)
  say(`| ${name} | ${cases} | ${passed} | ${left.join(', ')} | ${failed.length} |`)
  if (failed.length > 0) process.exitCode = 1
}
