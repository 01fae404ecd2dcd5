// The rest of the contract of ChannelLog: conditions, ends, erasing and transient events, as a suite that every engine
// must pass.

import type { Test } from 'tap'
import { dataOf as jsonOf, type Draft, type LogEvent } from '../../services/broker/event/event.ts'
import { type Position, printPosition } from '../../services/broker/event/position.ts'
import { ChannelEnded, type ChannelLog, HeadMoved } from '../../services/broker/log/log.ts'
import { ALL, append, dataOf, draft, drafts, type MakeLog, readAll, record } from './log.ts'

const END: Draft = { data: Buffer.alloc(0), end: true }

/** The head that a refused append reports. */
async function refusal(append: Promise<unknown>): Promise<[string, Position] | undefined> {
  try {
    await append
    return undefined
  } catch (error) {
    if (error instanceof HeadMoved || error instanceof ChannelEnded) return [error.name, error.head]
    throw error
  }
}

const objectOf = ({ json }: LogEvent) => JSON.parse(json.toString())

export function logActsContract(t: Test, name: string, make: MakeLog): void {
  const withLog = (title: string, body: (t: Test, log: ChannelLog) => Promise<void>, settings = {}) =>
    t.test(`${name}: ${title}`, async t => {
      const log = await make(settings)
      t.teardown(() => log.close())
      await body(t, log)
    })

  // Conditions ------------------------------------------------------------------------------------------------

  withLog('an append with an expected head succeeds only at that head', async (t, log) => {
    const first = await append(log, 'a', drafts(2))
    const second = await append(log, 'a', [draft(3, { ifHead: first }), draft(4)])
    t.equal(second.offset, 4)
    t.same(await refusal(log.append('a', [draft(5, { ifHead: first })])), ['HeadMoved', second])
    const elsewhere = { epoch: 'other', offset: second.offset }
    t.same(await refusal(log.append('a', [draft(5, { ifHead: elsewhere }), draft(6)])), ['HeadMoved', second])
    t.same(await refusal(log.append('a', [draft(5, { ifHead: 'none' })])), ['HeadMoved', second])
    t.equal((await log.state('a')).count, 4)
  })

  withLog(
    '"none" matches a channel without events, and so does the position before its first',
    async (t, log) => {
      const { head } = await log.state('a')
      await append(log, 'a', [draft(1, { ifHead: head })])
      const first = await append(log, 'b', [draft(1, { ifHead: 'none' })])
      t.same(await refusal(log.append('b', [draft(2, { ifHead: 'none' })])), ['HeadMoved', first])
      const { cursor } = await log.read('c', 'latest', ALL, true)
      await append(log, 'c', [draft(1, { ifHead: cursor })])
      await log.read('d', 'latest', ALL, true)
      await append(log, 'd', [draft(1, { ifHead: 'none' })])
      t.same(await refusal(log.append('d', [draft(2, { ifHead: cursor })])), [
        'HeadMoved',
        (await log.state('d')).head,
      ])
    },
  )

  withLog('a duplicate of an append with an expected head gets its first result', async (t, log) => {
    const head = await append(log, 'a', drafts(1))
    const once = draft(2, { ifHead: head, idempotencyKey: 'k' })
    const position = await append(log, 'a', [once])
    const [receipt] = await log.append('a', [once])
    t.same([receipt?.position, receipt?.replayed], [position, true])
  })

  withLog('of 50 racing writers exactly one takes each position', async (t, log) => {
    const won: number[] = []
    const write = async (writer: number) => {
      for (let i = 0; i < 4; i++) {
        const { head } = await log.state('a')
        if ((await refusal(log.append('a', [draft(writer, { ifHead: head })]))) === undefined)
          won.push(writer)
      }
    }
    await Promise.all(Array.from({ length: 50 }, (_, writer) => write(writer)))
    const [page] = await readAll(log, 'a', 'earliest')
    t.equal(page?.events.length, won.length)
    t.ok(won.length >= 4)
    t.same(page?.events.map(dataOf).toSorted(), won.toSorted())
  })

  // The end ---------------------------------------------------------------------------------------------------

  withLog('a channel ends: its end is a record, and nothing comes after it', async (t, log) => {
    const before = await record(log, 'a')
    const end = await append(log, 'a', [draft(1), END])
    t.equal(end.offset, 2)
    t.same(await refusal(log.append('a', [draft(2)])), ['ChannelEnded', end])
    t.same(await refusal(log.append('a', [END])), ['ChannelEnded', end])
    t.same(await refusal(log.append('a', [draft(2, { ifHead: end })])), ['ChannelEnded', end])
    const page = await log.read('a', 'earliest', ALL)
    const [event, last] = page.events
    t.equal(event && dataOf(event), 1)
    t.same(last && objectOf(last), { end: { channel: 'a', id: printPosition(end) } })
    t.same([last?.kind, last?.type, last?.bytes], ['end', 'end', 0])
    t.equal(page.ended, true)
    t.equal((await log.read('a', 'earliest', { events: 1, bytes: 1 })).ended, undefined)
    t.equal((await log.read('a', end, ALL)).ended, true)
    t.has(await log.state('a'), { head: end, tail: { ...end, offset: 1 }, count: 2, ended: true })
    await before.reaches(end)
    t.same(
      before.delivered.map(({ json }) => json),
      page.events.map(({ json }) => json),
    )
    t.same([before.ended, before.faults], [true, []])
    before.feed?.close()
    t.equal((await record(log, 'a')).ended, true)
  })

  withLog('the end is not one of the newest events', async (t, log) => {
    await append(log, 'a', [draft(1), draft(2), END])
    const kinds = async (last: number, events = ALL.events) => {
      const page = await log.read('a', { last }, { ...ALL, events })
      return page.events.map(event => event.kind ?? dataOf(event))
    }
    t.same(await kinds(1), [2, 'end'])
    t.same(await kinds(1, 1), [2])
    t.same(await kinds(2), [1, 2, 'end'])
    t.same(await kinds(3), [1, 2, 'end'])
  })

  withLog('a duplicate gets its first result even after the end', async (t, log) => {
    const once = [draft(1, { idempotencyKey: 'k' })]
    const position = await append(log, 'a', once)
    const end = await append(log, 'a', [{ ...END, idempotencyKey: 'e' }])
    t.same(await append(log, 'a', once), position)
    t.same(await append(log, 'a', [{ ...END, idempotencyKey: 'e' }]), end)
    t.same(await refusal(log.append('a', [...once, draft(2)])), ['ChannelEnded', end])
    const [again, other] = [log.append('a', once), log.append('a', [draft(2)])]
    t.same(await refusal(other), ['ChannelEnded', end])
    t.match(await again, [{ position, replayed: true }])
  })

  // Erasing ---------------------------------------------------------------------------------------------------

  withLog('an event is erased: position, time and type stay', async (t, log) => {
    const secret = 'a-secret-that-goes'
    const { epoch } = await append(log, 'a', [
      draft(1),
      draft(secret, { type: 'post', encoding: 'base64', idempotencyKey: 'k' }),
      draft(3),
    ])
    const follower = await record(log, 'a')
    const event = (await log.read('a', { epoch, offset: 1 }, ALL)).events[0]
    t.equal(await log.erase('a', { epoch, offset: 2 }), true)
    await follower.until(() => follower.forgot > 0, 'the erasure is reported')
    const page = await log.read('a', { epoch, offset: 0 }, ALL)
    t.equal(page.gap, undefined)
    t.same(page.events.map(objectOf)[1], {
      channel: 'a',
      id: `${epoch}-2`,
      time: event?.time,
      type: 'post',
      erased: true,
      data: null,
    })
    t.same(
      page.events.map(({ offset, kind }) => [offset, kind]),
      [
        [1, undefined],
        [2, 'erased'],
        [3, undefined],
      ],
    )
    t.same([page.events.map(dataOf), page.cursor], [[1, null, 3], { epoch, offset: 3 }])
    t.equal(await log.erase('a', { epoch, offset: 2 }), true, 'again')
    t.equal(await log.erase('a', { epoch, offset: 4 }), false)
    t.equal(await log.erase('a', { epoch, offset: 0 }), false)
    t.equal(await log.erase('a', { epoch: 'other', offset: 1 }), false)
    t.equal(await log.erase('never', { epoch, offset: 1 }), false)
    t.same(await append(log, 'a', [draft(4)]), { epoch, offset: 4 })
    t.same((await log.append('a', [draft(0, { idempotencyKey: 'k' })]))[0]?.position, { epoch, offset: 2 })
    await follower.reaches({ epoch, offset: 4 })
    t.same([follower.faults, follower.delivered.map(dataOf)], [[], [4]])
  })

  withLog(
    'erasing works with retention and with pages',
    async (t, log) => {
      const { epoch } = await append(log, 'a', drafts(40))
      for (const offset of [21, 22, 40, 25]) t.equal(await log.erase('a', { epoch, offset }), true)
      await append(log, 'a', drafts(5, 41))
      t.equal(await log.erase('a', { epoch, offset: 25 }), false, 'trimmed')
      const pages = await readAll(log, 'a', 'earliest', { events: 7, bytes: 1000 })
      t.same(
        pages.flatMap(page => page.events.map(dataOf)),
        [...[26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, null], ...[41, 42, 43, 44, 45]],
      )
    },
    { retention: { events: 20 } },
  )

  withLog('a channel is cleared: another epoch, and a gap for its readers', async (t, log) => {
    const old = await append(log, 'a', [draft('a-secret'), draft(2, { idempotencyKey: 'k' }), END])
    const follower = await record(log, 'a')
    const head = await log.clear('a')
    t.not(head.epoch, old.epoch)
    t.has(await log.state('a'), { head, tail: undefined, count: 0 })
    t.notHas(await log.state('a'), { ended: true })
    await follower.reaches(head)
    t.same([follower.gaps, follower.ended], [[{ from: old, to: head }], false])
    for (const offset of [0, 2, 3, 9]) {
      const page = await log.read('a', { ...old, offset }, ALL)
      t.same([page.gap, page.events, page.ended], [{ from: { ...old, offset }, to: head }, [], undefined])
    }
    t.same((await log.read('a', 'earliest', ALL)).gap, undefined)
    t.same((await log.append('a', [draft(0, { idempotencyKey: 'k' })]))[0]?.replayed, true)
    t.same(await refusal(log.append('a', [draft(5, { ifHead: old })])), ['HeadMoved', head])
    const next = await append(log, 'a', [draft(5, { ifHead: 'none' })])
    t.same(next, { epoch: head.epoch, offset: head.offset + 1 })
    await follower.reaches(next)
    t.same(follower.faults, [])
    const [page] = await readAll(log, 'a', { ...old, offset: 1 })
    t.same([page?.gap?.to, page?.events.map(dataOf)], [head, [5]])
    await log.clear('a')
    t.same(
      (await readAll(log, 'a', 'earliest')).flatMap(page => page.events),
      [],
    )
  })

  withLog('clearing an empty channel changes nothing', async (t, log) => {
    const { head } = await log.state('a')
    t.same(await log.clear('a'), head)
    t.equal((await log.read('a', head, ALL)).gap, undefined)
  })

  // Transient events ------------------------------------------------------------------------------------------

  withLog('a transient event reaches followers in order, and is not stored', async (t, log) => {
    const follower = await record(log, 'a')
    const order: unknown[] = []
    const note = (events: readonly LogEvent[]) => order.push(...events.map(dataOf))
    const { events, transient } = follower
    follower.events = more => {
      note(more)
      events.call(follower, more)
    }
    follower.transient = more => {
      note(more)
      transient.call(follower, more)
    }
    const done = [
      log.append('a', [draft(1)]),
      log.relay('a', [draft('t1', { type: 'typing' }), draft('t2')]),
      log.append('a', [draft(2), draft(3)]),
      log.relay('a', [draft('t3')]),
      log.relay('b', [draft('nobody')]),
    ]
    await Promise.all(done)
    await follower.until(() => order.length === 6, 'six are reported')
    t.same(order, [1, 't1', 't2', 2, 3, 't3'])
    t.same(follower.faults, [])
    const [first] = follower.passing
    t.same(first && objectOf(first), { channel: 'a', time: await done[1], type: 'typing', data: 't1' })
    t.same([first?.kind, first && jsonOf(first).toString()], ['transient', '"t1"'])
    const { head, count } = await log.state('a')
    t.same([head.offset, count], [3, 3])
    t.equal((await log.state('b')).head.offset, 0)
  })

  withLog('no transient event follows the end', async (t, log) => {
    // Redis does not know of ends when it relays: see Channel.transient and Publisher.
    if (log.engine === 'redis') return
    const follower = await record(log, 'a')
    const ending = append(log, 'a', [END])
    const relaying = refusal(log.relay('a', [draft('t1')]))
    const end = await ending
    t.same(await relaying, ['ChannelEnded', end])
    t.same(await refusal(log.relay('a', [draft('t2')])), ['ChannelEnded', end])
    t.same(follower.passing, [])
  })
}
