// `npm run prove`: checks whether clients lose, repeat or reorder events while their connections are cut.

import '../support/web-locks.ts'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../../bench/files.ts'
import { namesOf, numberOf, optionsOf, runMain } from '../support/command-line.ts'
import { startCentrifuge } from './centrifuge.ts'
import { startFanwire } from './fanwire.ts'
import { pageOf } from './report.ts'
import { prove, type Result } from './run.ts'
import { startSocketIo } from './socket-io.ts'

const SYSTEMS = { fanwire: startFanwire, centrifuge: startCentrifuge, 'socket.io': startSocketIo }
/** Page of the documents that --write replaces. */
const PAGE = join(ROOT, 'docs/benchmarks/clients.md')
const USAGE = `npm run prove -- [--seed N] [--minutes M] [--readers N] [--tabs N] [--systems fanwire,centrifuge,socket.io]
                     [--cuts-only] [--write]

Cuts connections at random bytes, blocks, buffers and ages them, kills and drains servers, and counts the events that readers
miss, or receive twice or out of order.

--seed N     repeats the random choices of an earlier run (1)
--minutes M  duration of each run (1)
--readers N  number of readers (16)
--tabs N     number of tabs that share a connection, for fanwire (4)
--systems    the systems to test (fanwire); centrifuge needs Go
--cuts-only  cut connections only: servers keep running
--write      write docs/benchmarks/clients.md
Exit codes: 0 no event missing, repeated or reordered with fanwire's client, 1 otherwise, 2 wrong usage.
`

async function main(): Promise<void> {
  const options = optionsOf({
    seed: { type: 'string' },
    minutes: { type: 'string' },
    readers: { type: 'string' },
    tabs: { type: 'string' },
    systems: { type: 'string' },
    'cuts-only': { type: 'boolean' },
    write: { type: 'boolean' },
    help: { type: 'boolean' },
  })
  if (options.help) return void process.stdout.write(USAGE)
  const asked = {
    seed: numberOf(options.seed, 'seed', 0, 1),
    seconds: 60 * numberOf(options.minutes, 'minutes', 0.1, 1),
    readers: numberOf(options.readers, 'readers', 1, 16),
    tabs: numberOf(options.tabs, 'tabs', 0, 4),
    servers: options['cuts-only'] !== true,
    say: (line: string) => console.error(line),
  }
  const names = namesOf(
    options.systems ?? 'fanwire',
    'system',
    Object.keys(SYSTEMS),
  ) as (keyof typeof SYSTEMS)[]
  const results: Result[] = []
  for (const name of names) {
    for (const servers of asked.servers ? [false, true] : [false]) {
      const system = await SYSTEMS[name]()
      const tabs = name === 'fanwire' ? asked.tabs : 0
      const result = await prove(system, { ...asked, tabs, servers })
      await system.stop()
      console.log(JSON.stringify(result))
      results.push(result)
    }
  }
  const page = pageOf(results)
  if (options.write) writeFileSync(PAGE, page)
  console.log(page)
  const good = results
    .filter(({ name }) => name === 'fanwire/client')
    .every(({ missing, repeated, reordered, stuck }) => missing + repeated + reordered + stuck === 0)
  // Systems under test may leave open handles.
  process.exit(good ? 0 : 1)
}

await runMain(main, USAGE)
