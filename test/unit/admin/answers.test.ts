// A node yields every client and channel that it examines, so that answers are made in slices.

import t from 'tap'
import { answerQuestions } from '../../../services/admin/answers.ts'
import { ANONYMOUS } from '../../../services/broker/access/identity.ts'
import type { Answering } from '../../../services/broker/control/questions.ts'
import type { Context } from '../../../services/http/context.ts'

/** The keys that a node with these clients and channels yields. */
function keysOf(clients: object[], channels: object[], type: string, asks: object): unknown[] {
  const answers = new Map<string, Answering<'connections'>>()
  const questions = {
    answer(name: string, answering: Answering<'connections'>) {
      answers.set(name, answering)
      return questions
    },
  }
  const access = { isOpen: false }
  answerQuestions({ access, clients, questions, hub: channels, nodes: { id: 'n' } } as unknown as Context)
  return [...(answers.get(type)?.(asks) ?? [])].map(entry => entry?.[0])
}

t.test('items that were not requested are yielded as undefined, and get no id', async t => {
  const created: string[] = []
  const clients = ['ada', 'bob', 'ada'].map((user, i) => ({
    get id() {
      created.push(`${user}${i}`)
      return `${user}${i}`
    },
    identity: { ...ANONYMOUS, user },
    held: { channels: [`c${i}`] },
    since: 0,
  }))
  const channels = [{ name: 'room:1' }, { name: 'news' }]
  const keys = (type: string, asks: object) => keysOf(clients, channels, type, asks)
  t.strictSame(keys('connections', { user: 'bob' }), [undefined, 'bob1', undefined])
  t.strictSame(keys('readers', { channel: 'c2' }), [undefined, undefined, 'ada2'])
  t.strictSame(keys('readers', { channel: 'c2', user: 'bob' }), [undefined, undefined, undefined])
  t.strictSame(keys('channels', { match: 'room:*' }), ['room:1', undefined])
  t.strictSame(created, ['bob1', 'ada2'])
})
