// Delivery of transient events: in slices, once for each member, and before later events.

import t from 'tap'
import { type LogEvent, transientOf } from '../../../../services/broker/event/event.ts'
import { FlushLoop } from '../../../../services/broker/fanout/flush-loop.ts'
import { type Passing, Passage } from '../../../../services/broker/fanout/passing.ts'
import { hubOf, listen, ScriptedLog, settled } from './scripted-log.ts'

const event = (data: string) => transientOf('a', 1, { data: Buffer.from(data) })
const textOf = ({ json }: LogEvent) => JSON.parse(json.toString()).data

class Member {
  slot: number
  readonly got: number[] = []

  constructor(slot: number) {
    this.slot = slot
  }

  pass({ events }: Passing): void {
    this.got.push(...events.map(textOf))
  }
}

t.test(
  'over several slices each member receives each event once, even while members join and leave',
  async t => {
    const members = Array.from({ length: 100 }, (_, slot) => new Member(slot))
    const all = [...members]
    const passage = new Passage(members, new FlushLoop())
    passage.bring([event('1'), event('2')])
    t.equal(passage.flush(0), false)
    const had = members.filter(({ got }) => got.length > 0)
    t.ok(had.length > 0 && had.length < 20)
    // A member that waits for its turn leaves, and a visited member takes its place in the list.
    const gone = members[3] as Member
    gone.slot = -1
    members[3] = members.pop() as Member
    const late = new Member(members.length)
    members.push(late)
    passage.bring([event('3')])
    passage.finish()
    t.same(gone.got, [])
    t.same(late.got, [3])
    for (const each of all) if (each !== gone) t.same(each.got, [1, 2, 3])
    t.equal(passage.flush(0), true, 'the passage is complete')
    t.same(late.got, [3])
  },
)

t.test('no transient event follows the end', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const listener = await listen(hub, 'a', { epoch: 'e1', offset: 0 })
  log.add('a', [{ data: Buffer.from('1') }, { data: Buffer.alloc(0), end: true }])
  await log.relay('a', [{ data: Buffer.from('2') }])
  await settled()
  t.match(
    listener.lines.map(line => JSON.parse(line)),
    [{ data: 1 }, { end: {} }],
  )
  t.same(hub.endOf('a'), { epoch: 'e1', offset: 2 })
})

t.test('transient and retained events arrive in the order in which they were published', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const listener = await listen(hub, 'a', { epoch: 'e1', offset: 0 })
  await log.relay('a', [{ data: Buffer.from('1') }])
  log.add('a', [{ data: Buffer.from('2') }])
  await log.relay('a', [{ data: Buffer.from('3') }])
  log.lose('a', 0, 'e2')
  await settled()
  const said = listener.lines.map(line => JSON.parse(line).data ?? 'gap')
  t.same(said, [1, 2, 3, 'gap'])
})
