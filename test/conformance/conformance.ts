// npm run conformance -- <protocol>: a protocol's own suite, unmodified, against a node. What it needs is fetched into
// `.cache/conformance`.

import { durableStreams } from './durable-streams.ts'

/** What a suite found. */
export interface Found {
  readonly cases: number
  readonly passed: number
  /** What fanwire leaves out, by why. */
  readonly leftOut: Readonly<Record<string, number>>
  /** Names of the cases that failed, and should not have. */
  readonly failed: readonly string[]
}

const SUITES: Readonly<Record<string, (say: (text: string) => void) => Promise<Found>>> = {
  'durable-streams': durableStreams,
}

const say = (text: string) => void process.stdout.write(`${text}\n`)
const [name = ''] = process.argv.slice(2)
const suite = SUITES[name]
if (suite === undefined) {
  say(`npm run conformance -- ${Object.keys(SUITES).join(' | ')}`)
  process.exitCode = 2
} else {
  const { cases, passed, leftOut, failed } = await suite(say)
  for (const each of failed) say(`failed: ${each}`)
  say(`\n| suite | cases | passed | left out | failed |\n|---|---|---|---|---|`)
  const left = Object.entries(leftOut).map(([why, count]) => `${count} (${why})`)
  say(`| ${name} | ${cases} | ${passed} | ${left.join(', ')} | ${failed.length} |`)
  if (failed.length > 0) process.exitCode = 1
}
