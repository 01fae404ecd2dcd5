// A rewrite of segments does not change the readers' view, whatever happens meanwhile, and removes unreadable events.

import { execFile } from 'node:child_process'
import fs, { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { append, dataOf, draft, drafts, readAll, RETENTION } from '../contract/log.ts'
import { Random } from '../support/random.ts'
import { openFileLog } from './cuts.ts'
import { act, openRewritable, seen } from './rewritable.ts'
import { TYPESCRIPT } from '../support/typescript.ts'

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'fanwire-rewrite-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

const files = (folder: string) => readdirSync(folder).filter(name => name.endsWith('.log'))
const filesIn = (folder: string) => files(folder).map(name => statSync(join(folder, name), { bigint: true }))
const inodes = (folder: string) => filesIn(folder).map(({ ino }) => ino)
const sizeOf = (folder: string) => filesIn(folder).reduce((sum, { size }) => sum + Number(size), 0)
const textOf = (folder: string) =>
  files(folder)
    .map(name => readFileSync(join(folder, name), 'latin1'))
    .join()

t.test(
  'readers see the same before and after a rewrite, and after a restart: events, tags, ends, erasures, epochs',
  async t => {
    for (let seed = 1; seed <= 4; seed++) {
      const random = new Random(seed)
      const data = folder(t)
      const from: Awaited<ReturnType<typeof act>> = []
      let log = await openRewritable(data)
      let rewritten = 0
      for (let round = 0; round < 6; round++) {
        from.push(...(await act(log, random, 25)))
        const before = await seen(log, from)
        const old = inodes(data)
        await log.tidy()
        if (inodes(data).join() !== old.join()) rewritten++
        t.strictSame(await seen(log, from), before, `seed ${seed}, round ${round}: rewritten`)
        const chance = random.below(3)
        if (chance === 0) continue
        await log.close()
        // Without the file `mark`, the log begins new epochs.
        if (chance === 1) rmSync(join(data, 'mark'))
        log = await openRewritable(data)
        if (chance === 2)
          t.strictSame(await seen(log, from), before, `seed ${seed}, round ${round}: after a start`)
      }
      t.ok(rewritten >= 2, `${rewritten} times rewritten`)
      await log.close()
    }
  },
)

t.test('unreadable events leave the files, including the active one', async t => {
  const data = folder(t)
  let log = await openRewritable(data)
  for (let i = 0; i < 200; i++) await append(log, 'a', [draft(`secret-${i}-${'x'.repeat(300)}`)])
  const many = files(data).length
  await log.clear('a')
  await append(log, 'a', [draft('kept')])
  await log.tidy()
  t.ok(sizeOf(data) < 300_000, `${sizeOf(data)} bytes of ${many} files, including preallocated zeros`)
  t.notMatch(textOf(data), /secret/)
  t.ok(files(data).length < many / 4, `${files(data).length} files of ${many}`)
  const old = inodes(data)
  await log.tidy()
  t.same(inodes(data), old, 'a second upkeep rewrites nothing')
  await log.close()
  t.ok(sizeOf(data) < 4000, `${sizeOf(data)} bytes`)
  log = await openRewritable(data)
  t.teardown(() => log.close())
  t.same((await readAll(log, 'a', 'earliest'))[0]?.events.map(dataOf), ['kept'])
})

t.test(
  'segments that are fully readable or hold only channel records are not rewritten repeatedly',
  async t => {
    const data = folder(t)
    const log = await openRewritable(data)
    t.teardown(() => log.close())
    const key = 'k'.repeat(100)
    for (let i = 0; i < 15; i++)
      await append(
        log,
        'a',
        drafts(1).map(each => ({ ...each, idempotencyKey: key + i })),
      )
    for (let i = 0; i < 100; i++) {
      await append(log, `gone-${i}`, [draft(1)])
      await log.clear(`gone-${i}`)
    }
    await log.tidy()
    const old = inodes(data)
    await log.tidy()
    t.same(inodes(data), old)
  },
)

t.test('a segment with live idempotency keys stays, and the keys replay', async t => {
  const data = folder(t)
  let time = Date.now()
  const open = () =>
    openRewritable(data, {
      idempotencyWindow: 60_000,
      now: () => time,
      retentionOf: () => ({ ...RETENTION, events: 2 }),
    })
  let log = await open()
  for (let i = 0; i < 100; i++) await append(log, 'a', [draft('x'.repeat(300), { idempotencyKey: `k${i}` })])
  await log.tidy()
  await log.close()
  log = await open()
  t.teardown(() => log.close())
  t.equal((await log.append('a', [draft(1, { idempotencyKey: 'k3' })]))[0]?.replayed, true)
  const many = files(data).length
  time += 60_001
  await log.tidy()
  t.ok(files(data).length < many / 4, `${files(data).length} files of ${many}`)
  t.equal((await log.append('a', [draft(1, { idempotencyKey: 'k3' })]))[0]?.replayed, false)
})

t.test('an ended channel with records in a later segment stays ended', async t => {
  const data = folder(t)
  let log = await openRewritable(data)
  await append(log, 'a', [draft('x'.repeat(5000)), draft(2, { end: true })])
  await t.rejects(log.append('a', [draft(3)]))
  for (let i = 0; i < 60; i++) await append(log, 'b', [draft('x'.repeat(300))])
  await log.tidy()
  await log.close()
  log = await openRewritable(data)
  t.teardown(() => log.close())
  t.equal((await log.state('a')).ended, true)
})

t.test('readers and writers are served during a rewrite', async t => {
  const data = folder(t)
  const log = await openRewritable(data)
  t.teardown(() => log.close())
  const text = 'x'.repeat(300)
  for (let i = 0; i < 15; i++) {
    await append(log, 'kept', [draft(i)])
    for (let j = 0; j < 20; j++) await append(log, 'trimmed', [draft(text)])
  }
  const old = inodes(data)
  let tidied = false
  const tidying = log.tidy().then(() => (tidied = true))
  let reads = 0
  let last = 0
  while (!tidied) {
    const [pages] = await Promise.all([
      readAll(log, 'kept', 'earliest', { events: 4, bytes: 1e6 }),
      append(log, 'new', [draft(++last)]),
    ])
    t.strictSame(
      pages.flatMap(({ events }) => events.map(dataOf)),
      Array.from({ length: 15 }, (_, i) => i),
    )
    reads++
  }
  await tidying
  t.notSame(inodes(data), old)
  t.ok(reads > 0)
  const newest = (await readAll(log, 'new', 'earliest')).flatMap(({ events }) => events.map(dataOf))
  t.equal(newest.at(-1), last)
})

/** A closed log with much to rewrite, and its readers' view. */
async function filled(
  t: Test,
): Promise<{ data: string; from: Awaited<ReturnType<typeof act>>; before: string[] }> {
  const data = folder(t)
  const log = await openRewritable(data)
  const from = await act(log, new Random(7), 200)
  const before = await seen(log, from)
  await log.close()
  return { data, from, before }
}

t.test('a failed rewrite changes nothing, and the next one succeeds', async t => {
  const { data, from, before } = await filled(t)
  const log = await openRewritable(data)
  t.teardown(() => log.close())
  const { renameSync } = fs
  fs.renameSync = () => {
    throw Object.assign(new Error('no room'), { code: 'ENOSPC' })
  }
  syncBuiltinESMExports()
  const size = sizeOf(data)
  await log.tidy()
  fs.renameSync = renameSync
  syncBuiltinESMExports()
  t.strictSame(await seen(log, from), before)
  t.same(
    readdirSync(data).filter(name => name.endsWith('.new')),
    [],
  )
  await log.tidy()
  t.ok(sizeOf(data) < size)
  t.strictSame(await seen(log, from), before)
})

t.test('a process killed during a rewrite loses no event and no epoch', async t => {
  const steps = [
    ['write', 3, 'after'],
    ['renameSync', 1, 'before'],
    ['renameSync', 1, 'after'],
    ['rmSync', 1, 'after'],
  ] as const
  await Promise.all(
    steps.map(async ([name, call, when]) => {
      const step = `${when} ${name} ${call}`
      const { data, from, before } = await filled(t)
      const rewriter = join(import.meta.dirname, 'rewriter.ts')
      const args = [...TYPESCRIPT, rewriter, data, name, `${call}`, when]
      const output = await new Promise(resolve =>
        execFile(process.execPath, args, (error, out, err) => resolve(`${error?.signal} ${out}${err}`)),
      )
      t.equal(output, 'SIGKILL ', step)
      const log = await openRewritable(data)
      t.strictSame(await seen(log, from), before, step)
      await log.tidy()
      t.strictSame(await seen(log, from), before, `${step}: rewritten after that`)
      t.same(
        readdirSync(data).filter(name => name.endsWith('.new')),
        [],
      )
      await log.close()
    }),
  )
})

t.test('the byte count of a channel uses the erased size of erased events', async t => {
  const data = folder(t)
  const log = await openFileLog(data, {
    segmentBytes: 6000,
    idempotencyWindow: -1,
    retentionOf: channel => ({ ...RETENTION, events: channel === 'b' ? 1 : 100, bytes: 3000 }),
  })
  t.teardown(() => log.close())
  await append(log, 'b', [draft('x'.repeat(5500))])
  const head = await append(log, 'a', [draft('x'.repeat(1000)), draft('x'.repeat(1000))])
  await log.erase('a', { ...head, offset: 1 })
  await log.erase('a', head)
  await append(log, 'b', [draft(1)])
  await log.tidy()
  await append(log, 'a', [draft('y'.repeat(1500)), draft('z'.repeat(1000))])
  t.equal((await log.state('a')).count, 4, 'the limit leaves room for new events')
})
