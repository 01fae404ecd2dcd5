// Clients are checked again after the rules have changed.

import { EventEmitter } from 'node:events'
import { mock } from 'node:test'
import t from 'tap'
import type { Access } from '../../../services/broker/access/access.ts'
import { ANONYMOUS } from '../../../services/broker/access/identity.ts'
import { Clients, type Held } from '../../../services/http/clients.ts'

/** A clock that only the test moves. */
let now = 0
const clock = mock.method(performance, 'now', () => now)
t.teardown(() => clock.mock.restore())

const turn = () => new Promise(resolve => setImmediate(resolve))

t.test('clients are checked in slices, and by the newest rules if those change meanwhile', async t => {
  let forbidden = ''
  const checked: string[] = []
  const access = Object.assign(new EventEmitter(), {
    isOpen: false,
    isRevoked: () => false,
    withoutLapsed: (identity: unknown) => ({ identity }),
    may: (_identity: unknown, _right: string, channel: string) => {
      now += 1
      checked.push(channel)
      return { allowed: channel !== forbidden }
    },
  })
  const clients = new Clients(access as unknown as Access)
  t.teardown(() => clients.close())
  const ended: string[] = []
  const hold = (channel: string) => {
    const held: Held = {
      wire: 'ws',
      channels: [channel],
      positionIn: () => undefined,
      end: ({ code, reason }) => ended.push(`${channel}: ${code} ${reason}`),
    }
    clients.add(held, { identity: ANONYMOUS, asker: undefined })
  }
  for (const channel of ['a', 'b', 'c', 'd', 'e', 'f']) hold(channel)
  checked.length = 0

  forbidden = 'f'
  access.emit('rules')
  t.strictSame(checked, ['a', 'b'], 'then others have their turn')
  forbidden = 'a'
  access.emit('rules')
  hold('g')
  while (ended.length === 0) await turn()
  t.strictSame(ended, ['a: 4403 may not read a any more'], 'under the newest rules alone')
  while (checked.length < 'abgcdefabcdefg'.length) await turn()
  t.strictSame(checked.join(''), 'abgcdefabcdefg')
  t.equal(ended.length, 1)
})
