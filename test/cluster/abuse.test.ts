// The short set of the abuse suite (`npm run abuse` runs all of it): one anonymous client must not be able to do these
// to a node for good. Nothing here is measured: the machine may be busy.

import t from 'tap'
import { attacks } from '../abuse/attacks/index.ts'
import { runAttack } from '../abuse/run.ts'
import { BUILT } from '../support/node.ts'

const PATIENCE = 60_000

// Each takes some 10 s, and its share of the machine may be small.
t.setTimeout(600_000)

// The three of which each ends a node, or takes it out of service, with one client.
for (const attack of attacks.filter(({ critical, title }) => critical && /^(W1|S1|S2)\b/.test(title))) {
  t.test(attack.title, async t => {
    const say = (text: string) => t.comment(text)
    const outcome = await runAttack(attack, { built: BUILT, rest: 1, attack: 2, patience: PATIENCE, say })
    t.same(outcome.wrong, [])
    t.type(outcome.ready, 'number', 'the node is ready again, and takes new clients')
    t.comment(JSON.stringify(outcome.did))
  })
}
