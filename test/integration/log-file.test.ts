// The file engine: the contract, and faults that only files have.

import {
  closeSync,
  cpSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Position } from '../../services/broker/event/position.ts'
import { FileLog, type FileLogOptions } from '../../services/broker/log/file/log.ts'
import {
  ALL,
  append,
  dataOf,
  draft,
  glance,
  logContract,
  type MakeLog,
  RETENTION,
  retentionIn,
} from '../contract/log.ts'
import { logActsContract } from '../contract/log-acts.ts'
import { folder } from '../support/folder.ts'
import { silent } from '../support/redis-logs.ts'

const options = (folder: string, more: Partial<FileLogOptions> = {}): FileLogOptions => ({
  folder,
  fsync: 0,
  retentionOf: () => RETENTION,
  idempotencyWindow: 60_000,
  logger: silent,
  ...more,
})

const make =
  (more: Partial<FileLogOptions>): MakeLog =>
  async settings => {
    const { idempotencyWindow = 60_000 } = settings
    const log = new FileLog(
      options(folder(t), { retentionOf: retentionIn(settings), idempotencyWindow, ...more }),
    )
    await log.open()
    return log
  }

logContract(t, 'file', make({}))
logActsContract(t, 'file', make({}))
logContract(t, 'file with small segments', make({ segmentBytes: 400 }))
logActsContract(t, 'file with small segments', make({ segmentBytes: 400 }))

/** Changes the first byte of the tables of a sealed segment; its trailer says where that is. */
function damageTables(path: string): void {
  const bytes = readFileSync(path)
  const at = bytes.readDoubleLE(bytes.length - 24)
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at)
  writeFileSync(path, bytes)
}

t.test(
  'a channel whose oldest table is damaged accepts appends, is readable behind it, and drops it later',
  async t => {
    const data = folder(t)
    const warnings: string[] = []
    const log = new FileLog(
      options(data, {
        segmentBytes: 300,
        retentionOf: () => ({ ...RETENTION, events: 3 }),
        logger: { ...silent, warn: (_, message) => void warnings.push(message) },
      }),
    )
    t.teardown(() => log.close())
    await log.open()
    const second = await append(log, 'a', [draft('x'.repeat(300)), draft(2)])
    await append(log, 'a', [draft(3)])
    damageTables(join(data, '000000000001.log'))
    await append(log, 'a', [draft(4)])
    t.same((await log.read('a', second, ALL)).events.map(dataOf), [3, 4])
    t.same(warnings, ['old events could not be dropped (logged once a minute)'])
    await append(log, 'a', [draft(5)])
    t.equal((await log.state('a')).count, 3)
  },
)

t.test('a channel that begins anew has a gap after each restart, and keeps its events', async t => {
  const more = options(folder(t), { beginsAnew: channel => channel === 'members' })
  const open = async () => {
    const log = new FileLog(more)
    await log.open()
    return log
  }
  const heads = new Map<string, Position>()
  for (const n of [1, 2, 3]) {
    const log = await open()
    for (const channel of ['members', 'news']) {
      const head = heads.get(channel)
      if (head !== undefined) {
        const { gap } = await log.read(channel, head, ALL)
        t.equal(gap !== undefined, channel === 'members', `${channel}, restart ${n - 1}`)
      }
      heads.set(channel, await append(log, channel, [draft(n)]))
    }
    await log.close()
    await (await open()).close()
  }
  const log = await open()
  t.teardown(() => log.close())
  t.equal((await log.state('members')).count, 3)
})

t.test('channels without a record are dropped once nobody follows them', async t => {
  // A channel's first event is not older than the time at which the channel was opened: if the clock goes back, that
  // shows whether the log has kept the channel.
  let now = 5000
  const log = new FileLog(options(folder(t), { now: () => now }))
  t.teardown(() => log.close())
  await log.open()
  const others = async (prefix: string) => {
    for (let i = 0; i <= 10_000; i++) await log.state(`${prefix}-${i}`)
  }
  const isKept = async (channel: string) => (await log.append(channel, [draft(1)]))[0]?.time === 5000
  const feeds = await Promise.all(['kept', 'closed'].map(async name => (await glance(log, name)).feed))
  await others('x')
  feeds[1]?.close()
  now = 1000
  await others('y')
  t.equal(await isKept('kept'), true)
  t.equal(await isKept('closed'), false)
})

t.test('a folder with files of others is refused, and nothing in it is changed', async t => {
  const data = folder(t)
  const log = new FileLog(options(data))
  await log.open()
  await append(log, 'a', [draft(1)])
  await log.close()
  const leftover = join(data, '000000000001.log.new')
  writeFileSync(leftover, 'unfinished')
  const filesIn = () => readdirSync(data).map(name => [name, readFileSync(join(data, name))])
  for (const name of ['notes.txt', 'app.conf.new', 'lock-list.txt', 'lock-0123456789ab']) {
    writeFileSync(join(data, name), 'mine')
    const before = filesIn()
    await t.rejects(new FileLog(options(data)).open(), {
      name: 'LogRefused',
      message: new RegExp(`holds ${name},.* nothing was changed`),
    })
    t.same(filesIn(), before, name)
    rmSync(join(data, name))
  }
  const again = new FileLog(options(data))
  t.teardown(() => again.close())
  await again.open()
  t.equal(existsSync(leftover), false)
  t.equal((await again.state('a')).count, 1)
})

/** The files in a folder that this process has open, by their descriptors. */
function openFiles(folder: string): Map<number, string> {
  const files = new Map<number, string>()
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`)
      if (path.startsWith(folder)) files.set(Number(fd), path)
    } catch {
      // The descriptor that read the folder is closed.
    }
  }
  return files
}

const linux = { skip: !existsSync('/proc/self/fd') }

t.test('an event whose acknowledgement could not be written is not in the log later', linux, async t => {
  const data = folder(t)
  const log = new FileLog(options(data))
  t.teardown(() => log.close())
  await log.open()
  await append(log, 'a', [draft(1)])
  const mark = join(data, 'mark')
  const [fd = -1] = [...openFiles(data)].find(([, path]) => path === mark) ?? []
  closeSync(fd)
  await t.rejects(append(log, 'a', [draft(2)]), { name: 'AppendsRefused' })
  t.equal(openSync(mark, 'r+'), fd)
  await append(log, 'a', [draft(3)])
  // A copy is what a killed process leaves: closing the log would seal its segment.
  const copy = folder(t)
  cpSync(data, copy, { recursive: true, filter: path => !path.includes('lock-') })
  const restarted = new FileLog(options(copy))
  t.teardown(() => restarted.close())
  await restarted.open()
  t.same((await restarted.read('a', 'earliest', ALL)).events.map(dataOf), [1, 3])
})

t.test('an erasure that fails keeps no file open', linux, async t => {
  const data = folder(t)
  const log = new FileLog(options(data))
  await log.open()
  const first = await append(log, 'a', [draft(1)])
  await log.read('a', 'earliest', ALL)
  const path = join(data, '000000000001.log')
  renameSync(path, `${path}.away`)
  await t.rejects(log.erase('a', first))
  renameSync(`${path}.away`, path)
  t.equal(await log.erase('a', first), true)
  await log.close()
  t.equal(openFiles(data).size, 0)
})
