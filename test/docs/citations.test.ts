// Every document and heading that the code cites exists, and so does every path that ARCHITECTURE.md names.

import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ROOT } from '../../bench/files.ts'
import { anchorsOf } from './blocks.ts'

const SOURCES = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  cwd: ROOT,
  encoding: 'utf8',
})
  .split('\n')
  .filter(path => /\.(ts|js|lua|conf|cfg|ya?ml|sh)$|Dockerfile$/.test(path) && existsSync(join(ROOT, path)))
  .filter(path => !/results\//.test(path))

/** `ARCHITECTURE.md#fan-out`, or a path below docs/, or a name that looks like a document's. */
const CITATION = /\b(docs\/[\w/-]+\.md|[A-Z]{3,}\.md)(?:#([\w-]+))?/g

t.test('every document and heading cited in code exists', async t => {
  let cited = 0
  for (const source of SOURCES) {
    const text = readFileSync(join(ROOT, source), 'utf8')
    for (const [citation, path = '', anchor] of text.matchAll(CITATION)) {
      cited += 1
      if (!t.ok(existsSync(join(ROOT, path)), `${source}: ${citation}`) || anchor === undefined) continue
      t.ok(anchorsOf(path).includes(anchor), `${source}: ${citation}`)
    }
  }
  t.ok(cited > 15, `${cited} citations`)
})

/** The paths that a document marks as code. */
function pathsOf(markdown: string): string[] {
  return [...markdown.matchAll(/`((?:services|bench|infra|test|docs)\/[\w./-]*)`/g)].map(
    ([, path = '']) => path,
  )
}

t.test('every path named in ARCHITECTURE.md exists', async t => {
  const markdown = readFileSync(join(ROOT, 'ARCHITECTURE.md'), 'utf8')
  const paths = pathsOf(markdown)
  t.ok(paths.length > 20, `${paths.length} paths`)
  for (const path of paths) t.ok(existsSync(join(ROOT, path)), path)
  const [drawing = ''] = /```text\n.*?```/s.exec(markdown) ?? []
  const boxes = [...drawing.matchAll(/\b(?:http|publish|broker|wires)\/[\w/-]+(?:\.ts)?/g)].map(
    ([path]) => path,
  )
  t.ok(boxes.length > 5, `${boxes.length} boxes`)
  for (const path of boxes) t.ok(existsSync(join(ROOT, 'services', path)), `the drawing: ${path}`)
})
