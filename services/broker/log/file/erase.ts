// Erases in place: overwrites the events' tags and data with zeros. Their heads remain.

import { close as closeFile, constants, fdatasync as syncData, open as openFile } from 'node:fs'
import { promisify } from 'node:util'
import { writeAll } from './active.ts'
import type { Run } from './channel.ts'
import { contentOf } from './records.ts'

const close = promisify(closeFile)
const fdatasync = promisify(syncData)
const open = promisify(openFile)

/** Erases the run's events with these offsets, unless the run is being rewritten. Returns once that is on disk. */
export async function eraseEvents(
  { segment, first, count, table }: Run,
  from: number,
  to: number,
): Promise<void> {
  segment.hold()
  try {
    const fd = await open(segment.path, constants.O_RDWR)
    try {
      for (let i = from - first; i < count && i <= to - first; i++) {
        const at = table.at[i] ?? 0
        const record = await segment.bytes(at, table.lengths[i] ?? 0)
        const content = contentOf(record)
        if (content === undefined) throw segment.damaged(at)
        // A channel's end has no data.
        if (content < record.length) await writeAll(fd, Buffer.alloc(record.length - content), at + content)
      }
      await fdatasync(fd)
    } finally {
      await close(fd)
    }
  } finally {
    segment.release()
  }
}
