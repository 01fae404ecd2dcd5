// The judge of what an application was told has to be able to say no.

import t from 'tap'
import { livesOf } from '../../../services/broker/lives/channels.ts'
import { Heard, type Told } from './heard.ts'

const ROOM = 'room:1'
const SHARD = livesOf(ROOM).replace(/^.*:/, '')

const life = (offset: number, type: string, user?: string, epoch = 'e'): Told => ({
  type,
  id: `${SHARD}:${epoch}-${offset}`,
  data: { channel: ROOM, ...(user === undefined ? {} : { user }) },
})
const gap = (to: string): Told => ({ type: 'gap', id: `${SHARD}:${to}`, data: {} })
const LIVES = [
  life(1, 'channel.occupied'),
  life(2, 'presence.joined', 'ann'),
  life(3, 'presence.left', 'ann'),
  life(4, 'channel.vacated'),
]
const LOG = ['join ann', 'leave ann']

function judged(told: readonly Told[], gaps: 'none' | 'may' = 'none', log = LOG) {
  const heard = new Heard()
  heard.begin()
  for (const each of told) heard.take(each)
  return heard.judge(ROOM, log, gaps)
}

t.test('all of it in order, some of it again, is right', async t => {
  t.strictSame(judged(LIVES), { told: 4, repeated: 0, gaps: 0, wrong: [] })
  const again = [...LIVES.slice(0, 3), ...LIVES.slice(1)]
  t.strictSame(judged(again), { told: 4, repeated: 2, gaps: 0, wrong: [] })
})

t.test('what is missing or out of order is wrong', async t => {
  for (const left of [1, 2, 3]) t.not(judged(LIVES.filter((_, i) => i !== left)).wrong.length, 0, `${left}`)
  t.not(judged([0, 2, 1, 3].flatMap(i => LIVES[i] ?? [])).wrong.length, 0)
  t.not(judged(LIVES, 'none', [...LOG, 'join bob']).wrong.length, 0)
  t.not(judged([...LIVES, { ...gap('e-4'), wrong: 'no signature' }]).wrong.length, 0)
})

t.test('a gap stands for what is missing, where there may be one', async t => {
  const told = [LIVES[0], gap('f-0'), life(1, 'channel.vacated', undefined, 'f')].flatMap(each => each ?? [])
  t.match(judged(told, 'may'), { gaps: 1, wrong: [] })
  t.equal(judged(told).wrong.length, 1)
})
