// Cuts a file of a file log at a random byte, or copies the log during writes, and checks the remains.

import { cp, readdir, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { FileLog, type FileLogOptions } from '../../services/broker/log/file/log.ts'
import { type Position, printPosition } from '../../services/broker/event/position.ts'
import type { ChannelLog } from '../../services/broker/log/log.ts'
import { append, dataOf, draft, readAll, RETENTION } from '../contract/log.ts'
import { Random } from '../support/random.ts'
import { silent } from '../support/redis-logs.ts'

export const fileOptions = (folder: string, more: Partial<FileLogOptions> = {}): FileLogOptions => ({
  folder,
  fsync: 0,
  retentionOf: () => RETENTION,
  idempotencyWindow: 60_000,
  logger: silent,
  ...more,
})

export async function openFileLog(folder: string, more: Partial<FileLogOptions> = {}): Promise<FileLog> {
  const log = new FileLog(fileOptions(folder, more))
  await log.open()
  return log
}

/** Acknowledged positions by channel, in order. */
type Acknowledged = Map<string, Position[]>

const CHANNELS = ['a', 'b', 'c']

async function fill(
  log: ChannelLog,
  random: Random,
  acknowledged: Acknowledged,
  calls: number,
): Promise<void> {
  for (let i = 0; i < calls; i++) {
    const channel = random.pick(CHANNELS)
    const positions = acknowledged.get(channel) ?? []
    acknowledged.set(channel, positions)
    const drafts = Array.from({ length: 1 + random.below(3) }, () => draft('x'.repeat(random.below(300))))
    for (const { position } of await log.append(channel, drafts)) positions.push(position)
  }
}

/** Cuts a file of a closed log. Returns descriptions of the faults in the remains. */
export async function cutAFile(folder: string, seed: number): Promise<string[]> {
  const random = new Random(seed)
  const acknowledged: Acknowledged = new Map()
  for (let starts = 1 + random.below(3); starts > 0; starts--) {
    const log = await openFileLog(folder, { segmentBytes: 4000 })
    await fill(log, random, acknowledged, 40)
    await log.close()
  }
  const path = join(folder, random.pick(await readdir(folder)))
  const { size } = await stat(path)
  await truncate(path, random.below(size))
  return await judge(folder, acknowledged)
}

/** Copies the folder during writes. Returns descriptions of the faults in the copy. */
export async function copyWhileWritten(folder: string, copy: string, seed: number): Promise<string[]> {
  const random = new Random(seed)
  const acknowledged: Acknowledged = new Map()
  const log = await openFileLog(folder, { segmentBytes: 4000 })
  await fill(log, random, acknowledged, 20)
  const filling = fill(log, random, acknowledged, 60)
  await cp(folder, copy, { recursive: true, filter: path => !path.includes('lock-') })
  await filling
  await log.close()
  return await judge(copy, acknowledged)
}

/**
 * Checks that the remains are a prefix of the acknowledged events, that readers beyond it receive a gap, and that no
 * position is reused. Returns descriptions of the faults.
 */
async function judge(folder: string, acknowledged: Acknowledged): Promise<string[]> {
  const wrong: string[] = []
  const known = new Set(
    [...acknowledged].flatMap(([channel, all]) => all.map(at => `${channel} ${printPosition(at)}`)),
  )
  for (let start = 0; start < 2; start++) {
    const log = await openFileLog(folder, { segmentBytes: 4000 })
    for (const [channel, positions] of acknowledged) {
      const pages = await readAll(log, channel, 'earliest')
      const left = pages.flatMap(page => page.events).filter(event => dataOf(event) !== 'after')
      const ids = left.map(printPosition)
      const before = positions.slice(0, ids.length).map(printPosition)
      if (ids.join() !== before.join())
        wrong.push(`${channel} has ${ids.join()} of ${positions.map(printPosition).join()}`)
      const last = positions.at(-1)
      if (last === undefined) continue
      const [page] = await readAll(log, channel, last)
      if (ids.length < positions.length && page?.gap === undefined)
        wrong.push(`${channel}: no gap after ${printPosition(last)}`)
      const next = `${channel} ${printPosition(await append(log, channel, [draft('after')]))}`
      if (known.has(next)) wrong.push(`${next} is used again`)
      known.add(next)
    }
    await log.close()
  }
  return wrong
}
