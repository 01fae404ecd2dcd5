// npm run durability: checks that events acknowledged by the file log survive kills, and that nodes start cleanly from
// damaged files.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { numberOf, optionsOf, runMain } from '../support/command-line.ts'
import { copyWhileWritten, cutAFile } from './cuts.ts'
import { killUnderLoad } from './kills.ts'
import { restartAfterKill } from './restart.ts'

const HELP = `npm run durability -- [options]

Checks that events acknowledged by the file log survive kills under load, that a node starts cleanly from cut files and from
copies made during writes, and measures the start with many events after a kill.

  --kills N   number of kills (100)
  --rate N    publishes per second while a node is up (2000)
  --seeds N   number of cut files; every tenth is also copied during writes (200)
  --events N  number of events for the measured start (1000000)

0 omits a part. Exit codes: 0 no failure, 1 failures, 2 wrong usage.
`

const say = (text: string) => void process.stdout.write(`${text}\n`)

async function main(): Promise<void> {
  const values = optionsOf({
    kills: { type: 'string' },
    rate: { type: 'string' },
    seeds: { type: 'string' },
    events: { type: 'string' },
    help: { type: 'boolean', default: false },
  } as const)
  if (values.help) return void process.stdout.write(HELP)
  const kills = numberOf(values.kills, 'kills', 0, 100)
  const rate = numberOf(values.rate, 'rate', 1, 2000)
  const seeds = numberOf(values.seeds, 'seeds', 0, 200)
  const events = numberOf(values.events, 'events', 0, 1_000_000)

  const root = mkdtempSync(join(tmpdir(), 'fanwire-durability-'))
  const wrong: string[] = []
  try {
    for (let seed = 1; seed <= seeds; seed++) {
      for (const each of await cutAFile(join(root, `cut-${seed}`), seed)) wrong.push(`cut ${seed}: ${each}`)
      if (seed % 10 !== 0) continue
      const [folder, copy] = [join(root, `written-${seed}`), join(root, `copy-${seed}`)]
      for (const each of await copyWhileWritten(folder, copy, seed)) wrong.push(`copy ${seed}: ${each}`)
    }
    say(`${seeds} files cut, ${Math.floor(seeds / 10)} copies: ${wrong.length} wrong`)
    if (kills > 0) {
      const account = await killUnderLoad({
        folder: join(root, 'killed'),
        kills,
        rate,
        // A node is slow for the first second, until its code is compiled.
        alive: 4000,
        least: 1,
        built: true,
        say,
      })
      wrong.push(...account.wrong)
      say(
        `${kills} kills: ${account.acknowledged} acknowledged, ${Math.round(account.acknowledged / account.seconds)} per second, ${account.epochs} epochs of 4 channels, ${account.wrong.length} wrong`,
      )
    }
    if (events > 0) {
      const { ready, empty, resident } = await restartAfterKill(join(root, 'full'), events, 10_000)
      say(
        `started with ${events} events in 10,000 channels after ${Math.round(ready)} ms, using ` +
          `${Math.round(resident)} MiB (${Math.round(empty)} MiB without events)`,
      )
    }
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
  for (const text of wrong.slice(0, 50)) say(`WRONG: ${text}`)
  process.exitCode = wrong.length > 0 ? 1 : 0
}

await runMain(main, HELP)
