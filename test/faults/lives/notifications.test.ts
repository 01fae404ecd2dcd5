// The judge of webhooks reports events that are missing or out of order.

import t from 'tap'
import { livesOf } from '../../../services/broker/lives/channels.ts'
import { Notifications, type Notification } from './notifications.ts'

const ROOM = 'room:1'
const SHARD = livesOf(ROOM).replace(/^.*:/, '')

const life = (offset: number, type: string, user?: string, epoch = 'e'): Notification => ({
  type,
  id: `${SHARD}:${epoch}-${offset}`,
  data: { channel: ROOM, ...(user === undefined ? {} : { user }) },
})
const gap = (to: string): Notification => ({ type: 'gap', id: `${SHARD}:${to}`, data: {} })
const LIVES = [
  life(1, 'channel.occupied'),
  life(2, 'presence.joined', 'ann'),
  life(3, 'presence.left', 'ann'),
  life(4, 'channel.vacated'),
]
const LOG = ['join ann', 'leave ann']

function judged(told: readonly Notification[], gaps: 'none' | 'may' = 'none', log = LOG) {
  const notifications = new Notifications()
  notifications.begin()
  for (const each of told) notifications.take(each)
  return notifications.judge(ROOM, log, gaps)
}

t.test('events in order pass, repeats included', async t => {
  t.strictSame(judged(LIVES), { received: 4, repeated: 0, gaps: 0, wrong: [] })
  const again = [...LIVES.slice(0, 3), ...LIVES.slice(1)]
  t.strictSame(judged(again), { received: 4, repeated: 2, gaps: 0, wrong: [] })
})

t.test('missing and misordered events are reported', async t => {
  for (const left of [1, 2, 3]) t.not(judged(LIVES.filter((_, i) => i !== left)).wrong.length, 0, `${left}`)
  t.not(judged([0, 2, 1, 3].flatMap(i => LIVES[i] ?? [])).wrong.length, 0)
  t.not(judged(LIVES, 'none', [...LOG, 'join bob']).wrong.length, 0)
  t.not(judged([...LIVES, { ...gap('e-4'), wrong: 'no signature' }]).wrong.length, 0)
})

t.test('a gap covers missing events, if gaps are allowed', async t => {
  const told = [LIVES[0], gap('f-0'), life(1, 'channel.vacated', undefined, 'f')].flatMap(each => each ?? [])
  t.match(judged(told, 'may'), { gaps: 1, wrong: [] })
  t.equal(judged(told).wrong.length, 1)
})

t.test('a gap that is repeated from an earlier position still counts as a gap', async t => {
  const end = life(1, 'channel.vacated', undefined, 'f')
  t.strictSame(judged([gap('f-0'), gap('g-0'), gap('f-0'), end], 'may').wrong, [])
  t.equal(judged([gap('f-0'), gap('g-0'), end], 'may').wrong.length, 1, 'an event of another epoch needs one')
})
