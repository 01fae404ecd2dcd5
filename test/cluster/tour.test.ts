// The tour of docs/get-started/tour.md, run as printed: a git history, published in one request, read over five wires
// with curl and a WebSocket client.

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { startNode } from '../support/node.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const COMMITS = 700
const SUBJECTS = [
  '"quotes" & <tags>',
  'ünïcödé ✓ 漢字 😀',
  'a\ttab',
  'back \\n slash',
  '$HOME `ticks` %s',
  "it's",
]

const README = readFileSync(join(ROOT, 'README.md'), 'utf8')
const TOUR = readFileSync(join(ROOT, 'docs/get-started/tour.md'), 'utf8')

/** A repository with a history, made by `git fast-import`. */
function repository(dir: string): void {
  const commits = Array.from({ length: COMMITS }, (_, i) => {
    const subject = `${SUBJECTS[i % SUBJECTS.length]} ${i}`
    const author = `Zoë O'Neil <zoe@example.com> ${1_700_000_000 + i * 60} +0200`
    return `commit refs/heads/main\ncommitter ${author}\ndata ${Buffer.byteLength(subject)}\n${subject}\n`
  })
  execFileSync('git', ['init', '--quiet', '--initial-branch=main', dir])
  execFileSync('git', ['-C', dir, 'fast-import', '--quiet'], { input: commits.join('\n') })
}

t.test('the tour gives the same events on every wire', async t => {
  const dir = mkdtempSync(join(tmpdir(), 'fanwire-tour-'))
  // Short heartbeats, because curl detects a closed pipe only with the next one.
  const node = await startNode({ env: { FANWIRE_HEARTBEAT: '1s' } })
  t.teardown(async () => {
    await node.stop()
    rmSync(dir, { recursive: true })
  })
  const repo = join(dir, 'repo')
  repository(repo)
  symlinkSync(join(ROOT, 'node_modules'), join(dir, 'node_modules'))
  const script = [...TOUR.matchAll(/<!-- tour -->\n```sh [^\n]*\n(.*?)```/gs)]
    .map(match => match[1])
    .join('\n')
  const env = { PATH: process.env.PATH, HOME: dir, URL: node.url, REPO: repo }
  const ran = spawnSync('bash', ['-euc', script], { cwd: dir, env, encoding: 'utf8' })
  t.equal(ran.status, 0, ran.stderr)

  const subjects = execFileSync('git', ['-C', repo, 'log', '--reverse', '--format=%s'], { encoding: 'utf8' })
  const lines = (wire: string) =>
    readFileSync(join(dir, `${wire}.ndjson`), 'utf8')
      .trim()
      .split('\n')
  const expected = lines('stream')
  t.same(
    expected.map(line => (JSON.parse(line) as { data: { subject: string } }).data.subject),
    subjects.trim().split('\n'),
    'one event a commit, in order',
  )
  for (const wire of ['poll', 'long-poll', 'sse', 'ws']) t.same(lines(wire), expected, wire)
  const sums = ran.stdout.match(/[0-9a-f]{32}/g) ?? []
  t.equal(sums.length, 5)
  t.equal(new Set(sums).size, 1, 'equal checksums')
})

t.test('.ci/run runs the test command that the README gives', async t => {
  t.match(README, /<!-- test command -->\n```sh\nnpm ci && npm test\n```/)
  t.match(README, /<!-- start command -->\n```sh\nnpm ci && npm start\n```/)
  t.match(readFileSync(join(ROOT, '.ci/run'), 'utf8'), /<!-- test command -->/)
})
