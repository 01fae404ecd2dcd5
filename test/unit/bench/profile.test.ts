// Summaries of CPU profiles: time by function, and by part of a node.

import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { hottest, parts } from '../../../bench/processes/profile.ts'

/** A profile in which each stack, from the outermost function, took some time, µs. */
function profile(spent: readonly (readonly [stack: readonly string[], time: number])[]): string {
  const nodes = [{ id: 1, callFrame: frame('(root)'), children: [] as number[] }]
  const samples = spent.map(([stack]) => {
    let parent = nodes[0]
    for (const each of stack) {
      const node = { id: nodes.length + 1, callFrame: frame(each), children: [] }
      nodes.push(node)
      parent?.children.push(node.id)
      parent = node
    }
    return nodes.length
  })
  return JSON.stringify({ nodes, samples, timeDeltas: spent.map(([, time]) => time) })
}

function frame(text: string) {
  const [functionName, url = ''] = text.split(/ (?=node:|file:)/)
  return { functionName, url, lineNumber: 0 }
}

t.test('time belongs to the nearest file; loading and idle time do not count', async t => {
  const dir = t.testdir()
  const flush = 'flush file:///fanwire/dist/services/broker/fanout/hub.js'
  const command = 'Command file:///fanwire/node_modules/ioredis/built/Command.js'
  await mkdir(join(dir, 'ws'))
  await writeFile(
    join(dir, 'ws', 'a.cpuprofile'),
    profile([
      [[flush], 10],
      [[flush, 'writeBuffer'], 40],
      [[flush, command, 'utf8Write'], 30],
      [['onRequest node:_http_server'], 10],
      [['(garbage collector)'], 10],
      [['(idle)'], 1000],
      [['run node:internal/modules/esm/loader', 'compileSourceTextModule'], 1000],
    ]),
  )
  const shares = await parts(dir)
  t.strictSame(Object.fromEntries([...shares].map(([part, share]) => [part, Math.round(share)])), {
    'fanwire: fan-out': 10,
    'writes to sockets': 40,
    ioredis: 30,
    'Node: HTTP': 10,
    'garbage collector': 10,
  })
  t.strictSame(await hottest(dir, 1), [' 90.9 %  compileSourceTextModule'])
})
