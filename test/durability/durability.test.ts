// Events acknowledged by the file log survive (short runs of `npm run durability`), and invalid folders are rejected.

import { execFileSync } from 'node:child_process'
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { AppendsRefused, LogRefused } from '../../services/broker/log/log.ts'
import { ALL, append, dataOf, draft, drafts } from '../contract/log.ts'
import { folder } from '../support/folder.ts'
import { runNode, startNode } from '../support/node.ts'
import { copyWhileWritten, cutAFile, openFileLog } from './cuts.ts'
import { killUnderLoad } from './kills.ts'

const bytesIn = (folder: string) =>
  readdirSync(folder)
    .filter(name => name.endsWith('.log'))
    .map(name => readFileSync(join(folder, name), 'latin1'))
    .join()

t.test('a node killed under load keeps all acknowledged events, in the same epochs', async t => {
  const data = folder(t)
  const { acknowledged, epochs, wrong } = await killUnderLoad({
    folder: data,
    kills: 2,
    rate: 500,
    alive: 700,
    least: 20,
  })
  t.same(wrong, [])
  t.equal(epochs, 4, 'one epoch per channel')
  t.ok(acknowledged >= 40, `${acknowledged} acknowledged`)
})

t.test('a truncated or copied log starts cleanly', async t => {
  const root = folder(t)
  for (let seed = 1; seed <= 8; seed++)
    t.same(await cutAFile(join(root, `cut-${seed}`), seed), [], `seed ${seed}`)
  t.same(await copyWhileWritten(join(root, 'log'), join(root, 'copy'), 1), [])
})

t.test('a reopened log keeps positions, ends, idempotency keys, erasures and clears', async t => {
  const data = folder(t)
  let log = await openFileLog(data, { segmentBytes: 300 })
  const head = await append(log, 'a', [draft('a-secret', { type: 'x', idempotencyKey: 'k' }), ...drafts(20)])
  t.equal(await log.erase('a', { ...head, offset: 1 }), true)
  await append(log, 'b', [draft('b-secret', { idempotencyKey: 'k' })])
  const cleared = await log.clear('b')
  await append(log, 'c', [draft(1), { data: Buffer.alloc(0), end: true }])
  t.notMatch(bytesIn(data), /-secret/, 'erased data is gone from the files')
  await log.close()
  log = await openFileLog(data)
  t.teardown(() => log.close())
  t.same((await log.state('a')).head, head)
  t.same((await log.state('b')).head, cleared)
  t.equal((await log.state('c')).ended, true)
  const page = await log.read('a', { ...head, offset: 0 }, ALL)
  t.same([page.gap, page.events.length, page.events[0]?.kind], [undefined, 21, 'erased'])
  for (const channel of ['a', 'b'])
    t.equal((await log.append(channel, [draft(0, { idempotencyKey: 'k' })]))[0]?.replayed, true)
  t.equal((await append(log, 'a', [draft(0)])).offset, 22)
})

t.test(
  "a cursor from before a channel's first event is valid after a restart, until the log has forgotten",
  async t => {
    const data = folder(t)
    let now = Date.now()
    let log = await openFileLog(data, { now: () => now })
    t.teardown(() => log.close())
    const again = async () => {
      await log.close()
      log = await openFileLog(data, { now: () => now })
    }
    await append(log, 'other', [draft(1)])
    const empty = (await log.read('a', 'earliest', ALL)).cursor
    await again()
    await append(log, 'a', [draft(1)])
    t.same((await log.read('a', empty, ALL)).gap, undefined)
    await again()
    t.same((await log.read('a', empty, ALL)).events.map(dataOf), [1])
    now += 30 * 86_400_000
    await log.tidy()
    await again()
    const next = await append(log, 'a', [draft(2)])
    t.not(next.epoch, empty.epoch)
    t.same((await log.read('a', empty, ALL)).gap?.to, { epoch: next.epoch, offset: 0 })
  },
)

t.test('a foreign, newer or damaged folder is rejected and left unchanged', async t => {
  const refused = async (data: string, why: RegExp) => {
    const before = readdirSync(data)
    const error = await openFileLog(data).then(
      () => undefined,
      error => error,
    )
    t.ok(error instanceof LogRefused && why.test(error.message), String(error))
    t.same(readdirSync(data), before)
  }
  const foreign = folder(t)
  writeFileSync(join(foreign, 'thesis.doc'), 'x')
  await refused(foreign, /thesis\.doc, which does not belong to a fanwire log/)
  const data = folder(t)
  const log = await openFileLog(data)
  await append(log, 'a', drafts(50))
  await log.close()
  const path = join(data, readdirSync(data).find(name => name.endsWith('.log')) ?? '')
  const whole = readFileSync(path)
  const newer = Buffer.from(whole)
  newer.writeUInt32LE(99, 8)
  writeFileSync(path, newer)
  await refused(data, /newer fanwire \(format 99/)
  const damaged = Buffer.from(whole.subarray(0, -30))
  damaged.writeUInt8(damaged.readUInt8(700) ^ 1, 700)
  writeFileSync(path, damaged)
  truncateSync(path, 2000)
  await refused(data, /damaged at byte \d+; restore it/)
})

t.test('the second process on a folder reports the conflict and exits', async t => {
  const env = { FANWIRE_DATA: folder(t) }
  const node = await startNode({ env })
  t.teardown(() => node.kill())
  t.match(JSON.parse(node.logs[0] ?? ''), { log: 'file', data: env.FANWIRE_DATA })
  const { code, output } = await runNode({ env })
  t.equal(code, 1)
  t.match(output, /another process has .* \(FANWIRE_DATA\): stop it first/)
})

t.test('a disk that stalls for seconds delays appends, but not reads', async t => {
  const root = folder(t)
  const [image, data] = [join(root, 'image'), join(root, 'disk')]
  mkdirSync(data)
  writeFileSync(image, Buffer.alloc(16 * 2 ** 20))
  try {
    execFileSync('mkfs.ext4', ['-q', image], { stdio: 'ignore' })
    execFileSync('mount', ['-o', 'loop', image, data], { stdio: 'ignore' })
  } catch {
    t.pass('no disk can be stalled', { skip: 'cannot mount a file' })
    return
  }
  t.teardown(() => execFileSync('umount', ['-l', data]))
  const log = await openFileLog(join(data, 'log'))
  t.teardown(() => log.close())
  await append(log, 'a', drafts(3))
  execFileSync('fsfreeze', ['-f', data])
  const fourth = append(log, 'a', [draft(4)])
  try {
    await t.rejects(log.probe(), AppendsRefused)
    t.same((await log.read('a', 'earliest', ALL)).events.map(dataOf), [1, 2, 3])
    t.equal((await log.read('new', { epoch: 'x', offset: 0 }, ALL, true)).unbegun, true)
  } finally {
    execFileSync('fsfreeze', ['-u', data])
  }
  t.equal((await fourth).offset, 4)
  await log.probe()
})

/** Mounts a disk of 1 MiB until the test ends. Returns its folder; undefined if this process may not mount. */
function smallDisk(t: Test): string | undefined {
  const data = folder(t)
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', data], { stdio: 'ignore' })
  } catch {
    t.pass('no disk can be filled', { skip: 'cannot mount tmpfs' })
    return undefined
  }
  t.teardown(() => execFileSync('umount', ['-l', data]))
  return data
}

/** Leaves no byte of the disk free. Returns the file that takes the room. */
function fillDisk(disk: string): string {
  const ballast = join(disk, 'ballast')
  const fd = openSync(ballast, 'w')
  try {
    for (;;) writeSync(fd, Buffer.alloc(4096))
  } catch {
    return ballast
  } finally {
    closeSync(fd)
  }
}

t.test('a log that could not create a segment on a full disk accepts appends when there is room', async t => {
  const disk = smallDisk(t)
  if (disk === undefined) return
  const log = await openFileLog(join(disk, 'log'))
  t.teardown(() => log.close())
  const ballast = fillDisk(disk)
  const open = readdirSync('/proc/self/fd').length
  for (let i = 0; i < 3; i++) await t.rejects(log.append('a', [draft(1)]), AppendsRefused)
  t.equal(readdirSync('/proc/self/fd').length, open, 'no file stays open')
  const read = () => log.read('new', { epoch: 'x', offset: 0 }, ALL, true)
  t.equal((await read()).unbegun, true, 'a reader needs no room')
  rmSync(ballast)
  t.equal((await read()).unbegun, undefined)
  t.equal((await append(log, 'a', [draft(1)])).offset, 1)
})

t.test('channels whose first append was refused are dropped as if they had not been used', async t => {
  const disk = smallDisk(t)
  if (disk === undefined) return
  // A channel's first event is not older than the time at which the channel was opened: if the clock goes back, that
  // shows whether the log has kept the channel.
  let now = 5000
  const log = await openFileLog(join(disk, 'log'), { now: () => now })
  t.teardown(() => log.close())
  const others = (prefix: string) =>
    Promise.all(Array.from({ length: 10_001 }, (_, i) => log.state(`${prefix}-${i}`)))
  const ballast = fillDisk(disk)
  await Promise.all([t.rejects(log.append('a', [draft(1)]), AppendsRefused), others('x')])
  now = 1000
  await others('y')
  rmSync(ballast)
  t.equal((await log.append('a', [draft(1)]))[0]?.time, 1000)
})

t.test(
  'on a full disk appends are rejected and reads continue; appends work again when there is room',
  async t => {
    const data = smallDisk(t)
    if (data === undefined) return
    const lines: string[] = []
    const note = (_: object, message: string) => void lines.push(message)
    const log = await openFileLog(join(data, 'log'), { logger: { debug() {}, info: note, warn: note } })
    t.teardown(() => log.close())
    const ballast = join(data, 'ballast')
    const head = await append(log, 'a', drafts(3))
    mkdirSync(ballast)
    writeFileSync(join(ballast, 'x'), Buffer.alloc(600_000))
    let last = head
    const large = draft('x'.repeat(20_000))
    const fill = async () => {
      for (;;) last = await append(log, 'a', [large])
    }
    await t.rejects(fill(), AppendsRefused)
    await t.rejects(log.append('a', [draft('x'.repeat(200_000))]), AppendsRefused)
    const full = 'the disk is full (FANWIRE_DATA): publishes are refused (logged once a minute)'
    t.same(lines, [full])
    t.same((await log.state('a')).head, last)
    t.same((await log.read('a', 'earliest', { events: 3, bytes: 1e6 })).events.map(dataOf), [1, 2, 3])
    rmSync(ballast, { recursive: true })
    await log.probe()
    t.equal((await append(log, 'a', [draft(4)])).offset, last.offset + 1)
    t.same(lines, [full], 'a small event does not show that there is room for a large one')
    await append(log, 'a', [large])
    t.same(lines, [full, 'the disk accepts publishes again'])
  },
)
