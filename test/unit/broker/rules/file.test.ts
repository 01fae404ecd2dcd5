// A running node follows its rules file on a real disk, and keeps its rules if the new file is invalid.

import { once } from 'node:events'
import { mkdir, mkdtemp, rename, rm, symlink, truncate, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import type { BadFileError } from '../../../../services/broker/files/bad-file.ts'
import { checkRulesFile } from '../../../../services/broker/rules/check.ts'
import { openRulesFile, type RulesFile } from '../../../../services/broker/rules/file.ts'
import { LARGE_RULES_FILE, parseAside } from '../../../../services/broker/rules/aside.ts'
import { parseRules } from '../../../../services/broker/rules/parse.ts'
import type { Rules } from '../../../../services/broker/rules/rules.ts'

const rule = (subscribe: string) => `channels: [{ match: a, subscribe: ${subscribe} }]\n`
const subscribeOf = (rules: Rules) => rules.of('a').subscribe[0]
/** A poll interval that never elapses, ms, so that only file system events trigger a reload. */
const NEVER = 2 ** 31 - 1

// Keeps the process alive, because followed files do not.
const alive = setInterval(() => {}, 1000)
t.teardown(() => clearInterval(alive))

async function folder(t: Test): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'fanwire-rules-'))
  t.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

async function opened(
  t: Test,
  path: string,
  options: Parameters<typeof openRulesFile>[1] = {},
): Promise<RulesFile> {
  const file = await openRulesFile(path, { settle: 5, interval: NEVER, ...options })
  t.teardown(() => file.close())
  return file
}

/** Replaces the file in one step: a file that is written in place may be read before it is complete. */
async function replace(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text)
  await rename(`${path}.new`, path)
}

/** The rules after `act` has changed the file. */
async function changed(file: RulesFile, act: () => Promise<unknown>): Promise<string | undefined> {
  const event = once(file, 'changed')
  await act()
  await event
  // The change was noticed, perhaps before the file was complete.
  await file.reload()
  return subscribeOf(file.current)
}

t.test('a file that is invalid at the start is rejected', async t => {
  const path = join(await folder(t), 'rules.yaml')
  await t.rejects(openRulesFile(path), {
    name: 'BadFileError',
    message: "it can't be read: there is no such file",
  })
  await writeFile(path, 'channels: 7')
  await t.rejects(openRulesFile(path), { name: 'BadFileError', message: /^1:11: channels: / })
  await writeFile(path, Buffer.from([0xff, 0xfe, 0x61]))
  await t.rejects(openRulesFile(path), { message: /not UTF-8/ })
  await t.rejects(openRulesFile(tmpdir()), { message: 'it is not a file' })
  await truncate(path, 5 * 2 ** 20)
  await t.rejects(openRulesFile(path), { message: /larger than/ })
})

t.test('a file that is written in place or replaced is read again', async t => {
  const path = join(await folder(t), 'rules.yaml')
  await writeFile(path, rule('user'))
  const file = await opened(t, path)
  t.equal(subscribeOf(file.current), 'user')
  t.equal(await changed(file, () => writeFile(path, rule('anyone'))), 'anyone')
  await writeFile(`${path}.new`, rule('token'))
  t.equal(await changed(file, () => rename(`${path}.new`, path)), 'token')
  t.equal(
    await changed(file, () => writeFile(path, rule('hook'))),
    'hook',
    'the replaced file is followed too',
  )
})

t.test('an invalid file leaves the rules unchanged, and is reported once', async t => {
  const path = join(await folder(t), 'rules.yaml')
  await writeFile(path, rule('user'))
  const file = await opened(t, path)
  const refused: BadFileError[] = []
  file.on('refused', error => refused.push(error))
  const event = once(file, 'refused')
  await replace(path, rule('everybody'))
  await event
  t.equal(subscribeOf(file.current), 'user')
  t.match(file.problem?.message, /^1:35: channels\[0\]\.subscribe: "everybody"/)
  await file.reload()
  await file.reload()
  t.equal(refused.length, 1)
  t.equal(
    await changed(file, () => writeFile(path, rule('user'))),
    'user',
    'the valid file is read although it equals the one before',
  )
  t.equal(file.problem, undefined)
  const gone = once(file, 'refused')
  await unlink(path)
  await gone
  t.match(file.problem?.message, /there is no such file/)
  t.equal(subscribeOf(file.current), 'user')
  t.equal(await changed(file, () => writeFile(path, rule('anyone'))), 'anyone')
})

t.test('the symlink swap by which Kubernetes updates a mounted ConfigMap is followed', async t => {
  const mount = await folder(t)
  const version = async (name: string, text: string) => {
    await mkdir(join(mount, name))
    await writeFile(join(mount, name, 'rules.yaml'), text)
  }
  await version('..1', rule('user'))
  await symlink('..1', join(mount, '..data'))
  await symlink(join('..data', 'rules.yaml'), join(mount, 'rules.yaml'))
  const file = await opened(t, join(mount, 'rules.yaml'))
  for (const [name, word] of [
    ['..2', 'anyone'],
    ['..3', 'token'],
  ] as const) {
    await version(name, rule(word))
    await symlink(name, join(mount, '..data_tmp'))
    t.equal(await changed(file, () => rename(join(mount, '..data_tmp'), join(mount, '..data'))), word)
  }
  await rm(join(mount, '..1'), { recursive: true })
})

t.test('the target of a link to another folder is followed', async t => {
  const [here, there] = [await folder(t), await folder(t)]
  const target = join(there, 'real.yaml')
  await writeFile(target, rule('user'))
  await symlink(target, join(here, 'rules.yaml'))
  const file = await opened(t, join(here, 'rules.yaml'))
  t.equal(await changed(file, () => writeFile(target, rule('anyone'))), 'anyone')
})

t.test('without file events the file is read periodically, and on SIGHUP', async t => {
  const path = join(await folder(t), 'rules.yaml')
  await writeFile(path, rule('user'))
  const listeners = process.listenerCount('SIGHUP')
  const never = await opened(t, path, {
    settle: NEVER,
    hangUp: listener => {
      process.on('SIGHUP', listener)
      return () => process.off('SIGHUP', listener)
    },
  })
  const often = await opened(t, path, { settle: NEVER, interval: 20 })
  const event = once(often, 'changed')
  await replace(path, rule('anyone'))
  await event
  t.equal(subscribeOf(often.current), 'anyone')
  t.equal(subscribeOf(never.current), 'user')
  t.equal(await changed(never, async () => process.kill(process.pid, 'SIGHUP')), 'anyone')
  never.close()
  t.equal(process.listenerCount('SIGHUP'), listeners)
})

t.test('a replaced folder is followed', async t => {
  const root = await folder(t)
  const [place, other] = [join(root, 'config'), join(root, 'other')]
  for (const path of [place, other]) await mkdir(path)
  await writeFile(join(place, 'rules.yaml'), rule('user'))
  await writeFile(join(other, 'rules.yaml'), rule('anyone'))
  const file = await opened(t, join(place, 'rules.yaml'))
  await rename(place, join(root, 'old'))
  await rename(other, place)
  await file.reload()
  t.equal(subscribeOf(file.current), 'anyone')
  t.equal(await changed(file, () => writeFile(join(place, 'rules.yaml'), rule('token'))), 'token')
})

t.test('a closed file is not read again', async t => {
  const path = join(await folder(t), 'rules.yaml')
  await writeFile(path, rule('user'))
  const file = await opened(t, path)
  const reading = file.reload()
  file.close()
  await writeFile(path, rule('anyone'))
  await reading
  await file.reload()
  t.equal(subscribeOf(file.current), 'user')
})

/** One rule for each of `teams` teams. The first starts at line 2; each has three lines. */
const large = (teams: number) =>
  `channels:\n${Array.from({ length: teams }, (_, i) => `  - match: 'team${i}:*'\n    subscribe: user\n    rate: { publish: 5/s }\n`).join('')}default: { subscribe: nobody }\n`

/** Calls back for each part of the rules that the next parser thread sends. */
function onParts(called: () => void): void {
  process.once('worker', (worker: Worker) => worker.on('message', called))
}

t.test('a large reloaded file is parsed without blocking the node', async t => {
  const text = large(600)
  t.ok(text.length > LARGE_RULES_FILE)
  const path = join(await folder(t), 'rules.yaml')
  await writeFile(path, rule('user'))
  const file = await opened(t, path)
  await changed(file, () => writeFile(path, text))
  t.equal(JSON.stringify(file.current.list), JSON.stringify(parseRules(text).list))
  t.match(file.current.of('team599:room'), {
    line: 1799,
    subscribe: ['user'],
    rate: { publish: 5, burst: 5 },
  })
  t.match(file.current.of('other'), { match: 'default', subscribe: ['nobody'] })
  const beside = `${text}hooks: { connect: { url: "https://a" } }\nwebhooks: [{ url: "https://a", events: "*" }]\n`
  const { hooks, webhooks, lives } = parseRules(beside)
  t.match(await parseAside(beside), { hooks, webhooks, lives }, 'the other parts of the file are parsed too')

  let turn = 0
  const parts: number[] = []
  onParts(() => {
    parts.push(turn)
    setImmediate(() => turn++)
  })
  await parseAside(text)
  t.ok(parts.length > 5, 'in parts')
  t.equal(new Set(parts).size, parts.length, 'each in its own turn of the event loop')
})

/** Large rules, all with the same subscribe right. */
const largeOf = (subscribe: string) => large(600).replaceAll('subscribe: user', `subscribe: ${subscribe}`)

/** The subscribe right in the first and in the last of the large rules. */
const ends = ({ current }: RulesFile) =>
  ['team0:room', 'team599:room'].map(name => current.of(name).subscribe[0])

t.test('the old rules apply until all new ones are parsed', async t => {
  const path = join(await folder(t), 'rules.yaml')
  await writeFile(path, largeOf('user'))
  const file = await opened(t, path, { settle: NEVER })
  await writeFile(path, largeOf('anyone'))
  const seen: string[] = []
  onParts(() => seen.push(ends(file).join()))
  await file.reload()
  t.ok(seen.length > 5)
  t.strictSame(new Set(seen), new Set(['user,user']))
  t.strictSame(ends(file), ['anyone', 'anyone'])
})

t.test('when reloads overlap, the newest file is applied last, even if it is parsed faster', async t => {
  const path = join(await folder(t), 'rules.yaml')
  await writeFile(path, rule('user'))
  const file = await opened(t, path, { settle: NEVER })
  const order: (string | undefined)[] = []
  file.on('changed', rules => order.push(rules.of('team0:room').subscribe[0]))
  file.on('refused', () => order.push('refused'))
  const during = async (text: string) => {
    // Once the worker has started, the old text has been read and is being parsed.
    const parsing = once(process, 'worker')
    const reload = file.reload()
    await parsing
    await writeFile(path, text)
    await Promise.all([reload, file.reload()])
  }
  await writeFile(path, largeOf('anyone'))
  await during('default: { subscribe: hook }')
  t.strictSame(order.splice(0), ['anyone', 'hook'])
  await writeFile(path, largeOf('user'))
  await during('channels: 7')
  t.strictSame(order.splice(0), ['user', 'refused'])
  t.strictSame(ends(file), ['user', 'user'], 'the last valid rules')
  t.match(file.problem?.message, /^1:11: channels: /)
})

t.test('problems of a large invalid file are reported with line and column', async t => {
  const path = join(await folder(t), 'rules.yaml')
  await writeFile(path, rule('user'))
  const file = await opened(t, path)
  const refusedFor = async (text: string) => {
    const event = once(file, 'refused')
    await replace(path, text)
    const [error] = (await event) as [BadFileError]
    t.equal(subscribeOf(file.current), 'user')
    return error.message
  }
  t.equal(
    await refusedFor(large(500).replace('subscribe: nobody', 'subscribe: noone')),
    '1502:23: default.subscribe: "noone" is not one of anyone, user, token, hook, nobody',
  )
  t.match(await refusedFor(`${large(500)}channels: []\n`), /^1503:1: .*channels occurs twice/)
  t.match(await refusedFor('['.repeat(20_000)), /./)
})

t.test('fanwire check prints path, line and column', async t => {
  const path = join(await folder(t), 'rules.yaml')
  t.strictSame(await checkRulesFile(path), {
    lines: [`${path}: it can't be read: there is no such file`],
    problems: [{ message: "it can't be read: there is no such file" }],
    exitCode: 2,
  })
  await writeFile(path, rule('user'))
  t.strictSame(await checkRulesFile(path), {
    lines: [`${path}: 1 rule, no problem`],
    problems: [],
    exitCode: 0,
  })
  await writeFile(path, 'channels:\n  - match: "a:**"\n  - macth: b\n')
  const { lines, exitCode } = await checkRulesFile(path)
  t.equal(exitCode, 1)
  t.match(lines, [/./, /./])
  t.ok(lines[0]?.startsWith(`${path}:2:12: channels[0].match: "a:**" has`))
  t.ok(lines[1]?.startsWith(`${path}:3:5: channels[1]: unknown member "macth"`))
})
