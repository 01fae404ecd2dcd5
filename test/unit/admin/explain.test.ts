// Explanations: why a right is allowed or denied, and why an event did or did not reach a user.

import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { WebSocket } from 'ws'
import { startMemoryNode } from '../../contract/node.ts'
import { until } from '../../support/until.ts'
import { client, controlled, follow } from './node.ts'

const EXPLAIN = '/v1/admin/explain'

t.test('the explanation of a right names the deciding rule and claim', async t => {
  const { post, token } = await controlled(t)
  const caps = [{ channels: ['room:*', 'lobby'], allow: ['sub', 'hst'] }]
  const cases: [Record<string, unknown>, Record<string, unknown>][] = [
    [
      { user: 'ada', right: 'subscribe', channel: 'inbox:ada' },
      {
        allowed: true,
        why: 'rule "inbox:{user}" (line 2): subscribe is user, and the user is "ada"',
        rule: { match: 'inbox:{user}', line: 2 },
        grant: null,
      },
    ],
    [
      { user: 'bob', right: 'subscribe', channel: 'inbox:ada' },
      { allowed: false, why: /\{user\} is not the user "bob"/, rule: { match: 'inbox:{user}' }, grant: null },
    ],
    [
      { token: token('ada', { caps }), right: 'subscribe', channel: 'room:1' },
      {
        allowed: true,
        why: 'rule "room:*" (line 3): caps[0] grants subscribe on room:*, lobby',
        rule: { match: 'room:*', line: 3 },
        grant: { origin: 'caps[0]', channels: ['room:*', 'lobby'], allow: ['subscribe', 'history'] },
      },
    ],
    [
      { token: token('ada', { caps }), right: 'publish', channel: 'room:1' },
      {
        allowed: false,
        why: /its grants are subscribe, history on room:\*, lobby \(caps\[0\]\)/,
        grant: null,
      },
    ],
    [
      { user: 'ada', right: 'subscribe', channel: 'room:1' },
      { allowed: false, why: /the grants of the user's own token are unknown here/ },
    ],
    [
      { user: '', right: 'subscribe', channel: 'other' },
      { allowed: false, why: /^the default rule.*subscribe is nobody/, rule: { match: 'default' } },
    ],
    [
      { user: 'ada', right: 'admin' },
      { allowed: false, why: /admin is a right of API keys only/, rule: null, grant: null },
    ],
    [
      { user: 'ada', right: 'subscribe', channel: 'fanwire:control' },
      { allowed: false, why: /admin is a right of API keys only/ },
    ],
    [
      { token: token('ada', { exp: 1 }), right: 'subscribe', channel: 'room:1' },
      { allowed: false, why: 'the token is not accepted: the token expired', rule: null, grant: null },
    ],
    [
      { token: 'gibberish', right: 'subscribe', channel: 'room:1' },
      { allowed: false, why: /^the token is not accepted: the token is not a JWT/ },
    ],
  ]
  for (const [asked, expected] of cases) {
    const { status, body } = await post(EXPLAIN, asked)
    t.equal(status, 200)
    t.match(body, expected, JSON.stringify({ ...asked, token: undefined }))
  }
})

t.test('malformed input is rejected with a code', async t => {
  const { post, token } = await controlled(t)
  const right = { right: 'subscribe', channel: 'room:1' }
  const cases: [Record<string, unknown>, string][] = [
    [{}, 'FW_BAD_PARAMETER'],
    [right, 'FW_BAD_PARAMETER'],
    [{ ...right, user: 'ada', token: token('ada') }, 'FW_BAD_PARAMETER'],
    [{ ...right, user: 7 }, 'FW_BAD_PARAMETER'],
    [{ ...right, token: 7 }, 'FW_BAD_PARAMETER'],
    [{ user: 'ada', right: 'sub', channel: 'room:1' }, 'FW_BAD_PARAMETER'],
    [{ user: 'ada', right: 'subscribe' }, 'FW_BAD_PARAMETER'],
    [{ user: 'ada', right: 'subscribe', channel: 'a b' }, 'FW_BAD_CHANNEL'],
    [{ ...right, user: 'ada', more: 1 }, 'FW_BAD_PARAMETER'],
    [{ user: 'ada', channel: 'room:1', id: 'gibberish' }, 'FW_BAD_CURSOR'],
    [{ user: 'ada', channel: 'room:1', id: 'm3k9zq-0' }, 'FW_BAD_CURSOR'],
    [{ ...right, user: 'ada', id: 'm3k9zq-1' }, 'FW_BAD_PARAMETER'],
    [{ channel: 'room:1', id: 'm3k9zq-1' }, 'FW_BAD_PARAMETER'],
  ]
  for (const [body, code] of cases) {
    const answer = await post(EXPLAIN, body)
    t.equal(answer.status, 400, JSON.stringify(body))
    t.match(answer.body, { error: { code } }, JSON.stringify(body))
  }
})

t.test('the explanation of an event says whether it exists, and where the readers are', async t => {
  const { post, node, token } = await controlled(t, { HISTORY_EVENTS: '3' })
  const channel = 'inbox:ada'
  const ask = async (id: string, user = 'ada') => {
    const { status, body } = await post(EXPLAIN, { user, channel, id })
    t.equal(status, 200)
    return body
  }
  const [early = ''] = await node.append(channel, '1')
  t.match(await ask(early), {
    event: { id: early, state: 'readable', head: early, tail: early },
    readers: [],
    why: `the log has ${early}; the user holds no connection; polls hold none`,
  })

  const reader = await follow(t, node, `/v1/sse?channel=${channel}`, token('ada'))
  t.match(await ask(early), {
    readers: [{ wire: 'sse', position: early, had: null, why: /^it reads since .*, after the event/ }],
  })
  const [live = ''] = await node.append(channel, '2')
  await reader.saw(live)
  t.match(await ask(live), {
    readers: [{ position: live, had: true, blocked: false }],
    why: `the log has ${live}; of the user's readers of the channel: 1 sent it`,
  })

  const [epoch = ''] = early.split('-')
  const next = `${epoch}-3`
  t.match(await ask(next), {
    event: { state: 'not published' },
    readers: [{ had: false, why: 'it waits for the event, which has not arrived' }],
    why: `${next} was not published: the newest event of the channel is ${live}; of the user's readers of the channel: 1 not sent it yet`,
  })
  const ids = await node.append(channel, '3', '4', '5')
  await reader.saw(ids.at(-1) ?? '')
  t.match(await ask(early), { event: { state: 'trimmed' }, why: /retention has removed it since/ })
  t.match(await ask('zzzzzzzz-1'), { event: { state: 'other epoch' }, readers: [{ had: null }] })

  await follow(t, node, '/v1/sse?channel=inbox:bob', token('bob'))
  t.match(await ask(live, 'bob'), { why: /the user is connected, but reads this channel on no connection/ })
})

t.test('the explanation of an event names readers that began after it, or may not want it', async t => {
  const node = await startMemoryNode({ MERCURE: '1' })
  t.teardown(() => node.close())
  const { post } = client(node)
  const readersOf = async (id: string) =>
    (await post(EXPLAIN, { user: '', channel: 'a', id }, '')).body.readers as { wire: string }[]

  const socket = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws?channel=b`)
  await once(socket, 'message')
  const [first = ''] = await node.append('a', { type: 'x' })
  socket.send(JSON.stringify({ subscribe: 'a' }))
  await until('it has subscribed', () => node.hub.readers('a') === 1)
  t.match(await readersOf(first), [{ wire: 'ws', had: null, why: /^it reads since .*, after the event/ }])
  const resumed = await follow(t, node, `/v1/stream?channel=a&cursor=earliest`)
  await resumed.saw(first)
  t.match(
    (await readersOf(first)).filter(({ wire }) => wire === 'stream'),
    [{ had: true, why: /received it/ }],
    'it was connected after the event, and caught up',
  )
  resumed.close()
  socket.terminate()

  const filtered = await follow(t, node, '/v1/sse?channel=a&types=y')
  const hub = await follow(t, node, '/.well-known/mercure?topic=a')
  await filtered.saw('open')
  const [second = '', last = ''] = await node.append('a', { type: 'x' }, { type: 'y' })
  await filtered.saw(last)
  await until('the others are gone', () => node.hub.connections.leaving.size === 0)
  const readers = (await readersOf(second)).toSorted((a, b) => a.wire.localeCompare(b.wire))
  t.match(readers, [
    { wire: 'mercure', had: null, why: 'its position in this channel is unknown' },
    { wire: 'sse', had: null, why: 'it reads a selection of the events, which may leave this one out' },
  ])
  hub.close()
})

t.test('where everybody may do everything, a token counts as nothing, like in requests', async t => {
  const node = await startMemoryNode()
  t.teardown(() => node.close())
  const { post } = client(node)
  const { body } = await post(EXPLAIN, { token: 'gibberish', right: 'publish', channel: 'a' }, '')
  t.match(body, { allowed: true })
})

t.test('the explanation of an event names a reader whose client reads nothing', async t => {
  const node = await startMemoryNode({ MEMORY: '64MiB' })
  t.teardown(() => node.close())
  const { post } = client(node)
  const [first = ''] = await node.append('a', '1')
  const socket = connect(node.port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  socket.on('error', () => {})
  socket.write('GET /v1/sse?channel=a HTTP/1.1\r\nHost: x\r\n\r\n')
  socket.pause()
  const ask = async (id: string) => (await post(EXPLAIN, { user: '', channel: 'a', id }, '')).body
  await until('the reader is listed', async () => ((await ask(first)).readers as unknown[]).length === 1)
  const big = Buffer.from(JSON.stringify('x'.repeat(500_000)))
  let last = ''
  for (let i = 0; i < 40; i++) [last = ''] = await node.append('a', { data: big })
  await until('its socket is full', async () => {
    const [reader] = (await ask(last)).readers as { blocked: boolean }[]
    return reader?.blocked === true
  })
  t.match(await ask(last), { readers: [{ had: false, blocked: true, why: /its client reads too slowly/ }] })
})
