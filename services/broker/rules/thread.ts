// The thread in which a large rules file is parsed: one part of the answer for each message.

import { parentPort, workerData } from 'node:worker_threads'
import { BadFileError, type Problem } from '../files/bad-file.ts'
import { parseRules } from './parse.ts'
import type { Rule, Rules } from './rules.ts'

export type Part =
  | { readonly rules: readonly Rule[] }
  | Pick<Rules, 'default' | 'lives' | 'hooks' | 'webhooks'>
  | { readonly problems: readonly Problem[] }

/** What the other thread takes at a time, without holding up others for long. */
const RULES_AT_A_TIME = 500

function* partsOf(text: string): Generator<Part> {
  let rules: Rules
  try {
    rules = parseRules(text)
  } catch (error) {
    if (!(error instanceof BadFileError)) throw error
    return yield { problems: error.problems }
  }
  const { list, default: others, lives, hooks, webhooks } = rules
  for (let from = 0; from < list.length; from += RULES_AT_A_TIME) {
    yield { rules: list.slice(from, from + RULES_AT_A_TIME) }
  }
  yield { default: others, lives, hooks, webhooks }
}

const parts = partsOf(workerData as string)
parentPort?.on('message', () => parentPort?.postMessage(parts.next().value))
