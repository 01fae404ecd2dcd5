// The short set of the fault suite (`npm run chaos` runs all of it): the nodes of a cluster, and the Redis that
// they share, must survive these faults with nothing lost silently, repeated or out of order. 108 readers on all wires,
// behind nginx and HAProxy, account for every event. Users join and leave meanwhile, and an application that is killed
// and restarted receives each join, leave, occupied and vacated as a webhook.

import t from 'tap'
import { faults } from '../faults/faults.ts'
import { runFault } from '../faults/run.ts'
import { startSingle } from '../faults/world.ts'
import { BUILT } from '../support/node.ts'

// It takes about 40 s, and longer on a busy machine.
t.setTimeout(600_000)

const world = await startSingle({ seed: 1, built: BUILT, lives: true, say: text => t.comment(text) })
t.teardown(() => world.close())

for (const fault of faults.filter(({ quick }) => quick)) {
  t.test(fault.title, async t => {
    const { wrong, verdict, lives } = await runFault(fault, world)
    t.same(wrong, [])
    t.comment(JSON.stringify({ ...verdict, lives }))
  })
}
