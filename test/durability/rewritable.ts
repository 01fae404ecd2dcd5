// A file log whose segments are small enough to be rewritten, and its readers' view.

import { type FileLog, type FileLogOptions } from '../../services/broker/log/file/log.ts'
import type { ChannelLog } from '../../services/broker/log/log.ts'
import { type Position, printPosition } from '../../services/broker/event/position.ts'
import { draft, readAll, RETENTION } from '../contract/log.ts'
import type { Random } from '../support/random.ts'
import { openFileLog } from './cuts.ts'

export const CHANNELS = ['a', 'b', 'c', 'd', 'e']

/** Keeps 20 events per channel. Idempotency keys expire at once, so that every sealed segment may be rewritten. */
export function openRewritable(folder: string, more: Partial<FileLogOptions> = {}): Promise<FileLog> {
  return openFileLog(folder, {
    segmentBytes: 2000,
    idempotencyWindow: -1,
    // Only tests start upkeep, however slow they are.
    upkeepEvery: 3_600_000,
    retentionOf: () => ({ ...RETENTION, events: 20 }),
    ...more,
  })
}

/** Makes `calls` random calls: append, end, erase and clear. Returns positions to read from. */
export async function act(log: ChannelLog, random: Random, calls: number): Promise<[string, Position][]> {
  const positions: [string, Position][] = []
  for (let i = 0; i < calls; i++) {
    const channel = random.pick(CHANNELS)
    const { head, ended } = await log.state(channel)
    positions.push([channel, head])
    const chance = random.below(100)
    if (chance < 3) await log.clear(channel)
    else if (ended) await log.append(channel, [draft('refused')]).catch(() => {})
    else if (chance < 6) await log.append(channel, [draft('end', { end: true })])
    else if (chance < 20 && head.offset > 0)
      await log.erase(channel, { ...head, offset: 1 + random.below(head.offset) })
    else
      await log.append(
        channel,
        Array.from({ length: 1 + random.below(3) }, () =>
          draft('x'.repeat(random.below(100)), { type: 't', tags: new Map([['n', `${i}`]]) }),
        ),
      )
  }
  return positions
}

/** Everything that readers see: from the beginning of each channel, and from these positions. */
export async function seen(log: ChannelLog, from: readonly [string, Position][]): Promise<string[]> {
  const lines: string[] = []
  for (const channel of CHANNELS) {
    lines.push(`${channel} ${JSON.stringify(await log.state(channel))}`)
    for (const { events } of await readAll(log, channel, 'earliest'))
      for (const event of events) lines.push(`${channel} ${event.json.toString()}`)
  }
  for (const [channel, position] of from)
    for (const { gap, events, cursor } of await readAll(log, channel, position))
      lines.push(
        `${channel} from ${printPosition(position)}: ${JSON.stringify(gap)} ${events.map(printPosition).join()} ${printPosition(cursor)}`,
      )
  return lines
}
