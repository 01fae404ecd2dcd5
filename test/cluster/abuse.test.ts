// The short set of the abuse suite (`npm run abuse` runs all of it): one anonymous client must not be able to
// disable a node permanently. Nothing is measured here, because the machine may be busy.

import t from 'tap'
import { attacks } from '../abuse/attacks/index.ts'
import { runAttack } from '../abuse/run.ts'
import { BUILT } from '../support/node.ts'

const PATIENCE = 60_000

// Each attack takes about 10 s, and longer on a busy machine.
t.setTimeout(600_000)

// By each of these three attacks, one client could crash a node or take it out of service.
for (const attack of attacks.filter(({ critical, title }) => critical && /^(W1|S1|S2)\b/.test(title))) {
  t.test(attack.title, async t => {
    const say = (text: string) => t.comment(text)
    const outcome = await runAttack(attack, { built: BUILT, rest: 1, attack: 2, patience: PATIENCE, say })
    t.same(outcome.wrong, [])
    t.type(outcome.ready, 'number', 'the node is ready again, and takes new clients')
    t.comment(JSON.stringify(outcome.did))
  })
}
