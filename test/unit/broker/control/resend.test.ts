import t from 'tap'
import { CONTROL } from '../../../../services/broker/control/channels.ts'
import { commandDraft, resend } from '../../../../services/broker/control/resend.ts'
import { valueOf } from '../../../../services/broker/control/tail.ts'
import { stopPerformanceNow } from '../../../support/stopped-clock.ts'
import { sharedLog } from './shared-log.ts'

t.test('revocations are compared with the log in slices', async t => {
  const clock = stopPerformanceNow(t)
  const log = sharedLog().view()
  const all = ['ada', 'bob', 'cleo', 'dan', 'eve'].map(user => ({ user, before: 1000, until: Infinity }))
  await log.append(
    CONTROL,
    all.slice(0, 3).map(each => commandDraft('revoke', each)),
  )
  let compared = 0
  const turns = new Set<number>()
  const count = () => void (turns.add(compared), (counting = setImmediate(count)))
  let counting = setImmediate(count)
  t.teardown(() => clearImmediate(counting))
  function* known() {
    for (const each of all) {
      compared++
      clock.forward(1)
      yield each
    }
  }
  await resend(log, known())
  t.ok(turns.has(2) && turns.has(4), 'others had their turn in between')
  const { events } = await log.read(CONTROL, 'earliest', { events: 10, bytes: 10_000 })
  t.strictSame(
    events.map(event => (valueOf(event) as { user: string }).user),
    ['ada', 'bob', 'cleo', 'dan', 'eve'],
    'only those that the log lost are sent',
  )
})
