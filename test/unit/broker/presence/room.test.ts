// A room whose members change without a pause.

import t, { type Test } from 'tap'
import { MemoryLog } from '../../../../services/broker/log/memory.ts'
import { Lease } from '../../../../services/broker/presence/lease.ts'
import { MemoryMembers } from '../../../../services/broker/presence/memory.ts'
import { Room } from '../../../../services/broker/presence/room.ts'
import { retentionIn } from '../../../contract/log.ts'
import { silent } from '../../../support/redis-logs.ts'

const CHANNEL = 'room:1'
/** After that many puts, the members stop changing, so that a test that fails ends. */
const MOST_PUTS = 100

const enter = (room: Room, user: string) => room.enter(user, `"user":"${user}"`)

function busyRoom(t: Test) {
  const calls: string[] = []
  const store = new (class extends MemoryMembers {
    override put(...args: Parameters<MemoryMembers['put']>) {
      calls.push('put')
      if (calls.length < MOST_PUTS) enter(room, `later ${calls.length}`)
      return super.put(...args)
    }
    override expel(...args: Parameters<MemoryMembers['expel']>) {
      calls.push('expel')
      return super.expel(...args)
    }
  })(new MemoryLog({ retentionOf: retentionIn({}), idempotencyWindow: 60_000 }))
  const lease = new Lease(store, silent, { changed() {}, ended() {} })
  let tags = 0
  const room = new Room(CHANNEL, {
    store,
    lease,
    grace: 0,
    lives: () => false,
    outbox: async () => {},
    empty() {},
    tag: () => `${lease.id}/${++tags}`,
  })
  t.teardown(() => {
    room.close()
    return lease.close(0)
  })
  return { room, store, calls }
}

t.test('a wait for the changes so far does not wait for later ones', async t => {
  const { room, store, calls } = busyRoom(t)
  for (let i = 0; i < 1200; i++) enter(room, `user ${i}`)
  await room.settled()
  t.ok(calls.length <= 4, 'three puts have them all, and the next round may have begun')
  enter(room, 'zoe')
  await room.settled()
  const { members } = await store.page(CHANNEL, 'user 999', 100)
  t.ok(members.some(member => member.includes('"zoe"')))
  t.ok(calls.length < 10, 'it waits for a round in progress and for its own')
})

t.test('entries of an earlier tag are removed while members change', async t => {
  const { room, store, calls } = busyRoom(t)
  enter(room, 'ann')
  await room.settled()
  room.enterAnew()
  await room.settled()
  t.equal((await store.count(CHANNEL)).tags.length, 1)
  t.ok(calls.includes('expel'))
  t.ok(calls.length < 10, 'the removal does not wait for a pause')
})
