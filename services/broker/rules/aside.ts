// Reads a rules file again while the node serves. A large file is parsed in a worker thread, so that no client waits.

import { once } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { BadFileError } from '../files/bad-file.ts'
import { RulesBuilder } from './make.ts'
import { parseRules } from './parse.ts'
import type { Rules } from './rules.ts'
import type { Part } from './thread.ts'

/** The size from which a file is parsed in a thread, characters: a smaller one takes less time than starting a thread. */
export const LARGE_RULES_FILE = 8 * 1024
const FROM_SOURCE = import.meta.url.endsWith('.ts')
const THREAD = new URL(FROM_SOURCE ? './thread.ts' : './thread.js', import.meta.url)

/** The thread does not get the process's flags (`--import`, `--inspect`), but has to read TypeScript. */
function threadFlags(): string[] {
  if (!FROM_SOURCE) return []
  const api = import.meta.resolve('tsx/esm/api')
  return ['--import', `data:text/javascript,import { register } from ${JSON.stringify(api)}; register()`]
}

/** Like `parseRules`. */
export async function parseAside(text: string): Promise<Rules> {
  if (text.length < LARGE_RULES_FILE) return parseRules(text)
  const worker = new Worker(THREAD, { workerData: text, execArgv: threadFlags() })
  worker.unref()
  try {
    return await rulesFrom(worker)
  } finally {
    void worker.terminate()
  }
}

/** Requests the parts one by one, with turns of the event loop in between. */
async function rulesFrom(worker: Worker): Promise<Rules> {
  const builder = new RulesBuilder()
  for (;;) {
    worker.postMessage('next')
    const [part] = (await once(worker, 'message')) as [Part]
    if ('problems' in part) throw new BadFileError(part.problems)
    if ('default' in part) return builder.build(part.default, part)
    builder.add(part.rules)
    // The port delivers all arrived messages in one turn, so this waits for the next one.
    await setImmediate()
  }
}
