// The thread that parses a large rules file. It sends the result in parts, one per message.

import { parentPort, workerData } from 'node:worker_threads'
import { BadFileError, type Problem } from '../files/bad-file.ts'
import { parseRules } from './parse.ts'
import type { Rule, Rules } from './rules.ts'

export type Part =
  | { readonly rules: readonly Rule[] }
  | Pick<Rules, 'default' | 'lives' | 'hooks' | 'webhooks'>
  | { readonly problems: readonly Problem[] }

/** How many rules the main thread can process at a time without blocking. */
const RULES_AT_A_TIME = 100

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
