// The commands and programs of all documents work; commands-wires.test.ts tests the wires' pages.

import t from 'tap'
import { blocksOf, documents, isExecutable, placeOf, unknownFlags } from './blocks.ts'
import { runDocuments } from './commands.ts'
import { syntaxProblem } from './page.ts'

const files = documents()

t.test('every block states how it is run, or why not', async t => {
  t.ok(files.length > 30)
  for (const block of files.flatMap(file => blocksOf(file))) {
    const place = placeOf(block)
    t.strictSame(unknownFlags(block), [], place)
    const reason = block.flags.get('no-run')
    if (reason !== undefined) t.match(reason, /\w+ \w+/, `${place}: a reason`)
    if (!isExecutable(block) || reason !== undefined) t.equal(syntaxProblem(block), undefined, place)
    t.not(block.language, '', `${place} names its language`)
    t.notMatch(block.language, /^(bash|shell|javascript|ts|py)$/, `${place}: one name for one language`)
  }
})

runDocuments(files.filter(file => !file.startsWith('docs/wires/')))
