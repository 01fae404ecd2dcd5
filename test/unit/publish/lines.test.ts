import fc from 'fast-check'
import t from 'tap'
import { type Line, LineSplitter } from '../../../services/publish/bulk/lines.ts'

/** The lines of `text`, found in the simplest way. */
function expected(text: string, limit: number): { number: number; text: string | undefined }[] {
  const all = text.split('\n')
  if (all.at(-1) === '') all.pop()
  return all
    .map((line, at) => ({ number: at + 1, text: Buffer.byteLength(line) > limit ? undefined : line }))
    .map(line => (line.number === 1 ? { ...line, text: line.text?.replace(/^\ufeff/, '') } : line))
    .filter(line => line.text === undefined || !/^[ \t\r]*$/.test(line.text))
}

function split(pieces: readonly Buffer[], limit: number): { number: number; text: string | undefined }[] {
  const splitter = new LineSplitter(limit)
  const lines: Line[] = []
  for (const piece of pieces) lines.push(...splitter.push(piece))
  lines.push(...splitter.end())
  return lines.map(({ number, bytes }) => ({ number, text: bytes?.toString() }))
}

function cut(text: string, sizes: readonly number[]): Buffer[] {
  const bytes = Buffer.from(text)
  const pieces: Buffer[] = []
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes.length === 0 ? bytes.length : (sizes[i % sizes.length] ?? 1)
    pieces.push(bytes.subarray(at, at + size))
    at += size
  }
  return pieces
}

t.test('the lines are the same however the bytes are cut', async t => {
  const piece = fc.oneof(
    fc.constantFrom('\ufeff', '\n', '\r\n', '\n\n', ' ', '\r', '{"a":1}', 'é🎉'),
    fc.string(),
  )
  const text = fc.array(piece, { maxLength: 30 }).map(parts => parts.join(''))
  const sizes = fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 5 })
  fc.assert(
    fc.property(text, sizes, fc.integer({ min: 1, max: 40 }), (text, sizes, limit) => {
      const found = split(cut(text, sizes), limit)
      if (JSON.stringify(found) !== JSON.stringify(expected(text, limit)))
        throw new Error(JSON.stringify(found))
    }),
    { numRuns: 3000 },
  )
  t.pass()
})

t.test('blank lines are skipped but counted; the last line needs no line feed', async t => {
  t.same(split([Buffer.from('1\n\n \t\r\n2\r\n3')], 10), [
    { number: 1, text: '1' },
    { number: 4, text: '2\r' },
    { number: 5, text: '3' },
  ])
  t.same(split([], 10), [])
  t.same(split([Buffer.from('\n')], 10), [])
})

t.test('a line that is too long is reported once, and not buffered', async t => {
  const splitter = new LineSplitter(100)
  const piece = Buffer.alloc(65_536, 'x')
  const before = process.memoryUsage().arrayBuffers
  for (let i = 0; i < 1000; i++) for (const line of splitter.push(piece)) t.fail(String(line.number))
  t.ok(process.memoryUsage().arrayBuffers - before < 2 ** 20)
  t.same(
    [...splitter.push(Buffer.from('\n7\n'))],
    [
      { number: 1, bytes: undefined },
      { number: 2, bytes: Buffer.from('7') },
    ],
  )
})
