// Fills a file log with events in channels, and then kills itself: fill.ts <folder> <events> <channels>.

import { draft } from '../contract/log.ts'
import { openFileLog } from './cuts.ts'

const [folder = '', events, channels] = process.argv.slice(2)
const log = await openFileLog(folder, { fsync: 1000 })
for (let left = Number(events); left > 0; left -= Number(channels)) {
  const names = Array.from({ length: Math.min(left, Number(channels)) }, (_, i) => `channel-${i}`)
  await Promise.all(names.map(name => log.append(name, [draft('x'.repeat(100))])))
}
process.kill(process.pid, 'SIGKILL')
