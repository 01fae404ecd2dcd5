// Acts on users over HTTP, on one node. test/integration/admin.test.ts tests several nodes.

import t from 'tap'
import { controlled, follow } from './node.ts'

t.test('disconnect ends all connections of a user, or one of them', async t => {
  const { post, get, node, token } = await controlled(t)
  const [first, second] = [
    await follow(t, node, '/v1/sse?channel=inbox:ada', token('ada')),
    await follow(t, node, '/v1/stream?channel=inbox:ada', token('ada')),
  ]
  const other = await follow(t, node, '/v1/sse?channel=inbox:bob', token('bob'))
  const { body } = await get('/v1/admin/connections?user=ada')
  const sse = (body.connections as { id: string; wire: string }[]).find(({ wire }) => wire === 'sse')

  const one = await post('/v1/admin/users/ada/disconnect', { client: sse?.id })
  t.strictSame([one.status, one.body], [202, { user: 'ada', client: sse?.id }])
  await first.ended
  t.match((await get('/v1/admin/connections?user=ada')).body, { connections: [{ wire: 'stream' }] })

  const all = await post('/v1/admin/users/ada/disconnect')
  t.strictSame([all.status, all.body], [202, { user: 'ada' }])
  await second.ended
  t.match(second.text, 'disconnected')
  t.notMatch(second.text, 'revoked')

  const [id = ''] = await node.append('inbox:bob', '1')
  await other.saw(id)
  // The token is still valid.
  await follow(t, node, '/v1/sse?channel=inbox:ada', token('ada'))
})

t.test('a user of any name can be disconnected, except `..`', async t => {
  const { post, node, token } = await controlled(t)
  for (const user of ['a/b', 'ä ö', '100%', '..', '日本', 'a?b#c']) {
    const reader = await follow(
      t,
      node,
      `/v1/sse?channel=room:1`,
      token(user, { caps: [{ channels: ['room:*'], allow: ['sub'] }] }),
    )
    const answer = await post(`/v1/admin/users/${encodeURIComponent(user).replaceAll('.', '%2e')}/disconnect`)
    // fetch resolves `..` in a path, even percent-encoded, so the request reaches no route.
    if (user === '..') t.equal(answer.status, 404)
    else {
      t.strictSame([answer.status, answer.body], [202, { user }])
      await reader.ended
    }
  }
})

t.test('revoke rejects tokens that were issued before, and ends what they opened', async t => {
  const { post, get, node, token } = await controlled(t)
  const now = Math.floor(Date.now() / 1000)
  const [old, fresh] = [token('ada', { iat: now - 100 }), token('ada', { iat: now - 10 })]
  const [olds, freshs] = [
    await follow(t, node, '/v1/sse?channel=inbox:ada', old),
    await follow(t, node, '/v1/sse?channel=inbox:ada', fresh),
  ]
  const { status, body } = await post('/v1/admin/users/ada/revoke', { before: now - 50 })
  t.strictSame([status, body], [202, { user: 'ada', before: (now - 50) * 1000 }])
  await olds.ended
  t.equal((await get('/v1/poll?channel=inbox:ada', old)).status, 401)
  t.equal((await get('/v1/poll?channel=inbox:ada', fresh)).status, 200)

  const iso = new Date((now - 5) * 1000).toISOString()
  t.equal((await post('/v1/admin/users/ada/revoke', { before: iso })).body.before, (now - 5) * 1000)
  await freshs.ended
  t.equal((await get('/v1/poll?channel=inbox:ada', token('ada', { iat: now }))).status, 200)
  const ms = (now - 50) * 1000 + 1
  const inMs = await post('/v1/admin/users/ada/revoke', { before: ms })
  t.strictSame([inMs.status, inMs.body.before], [202, ms], 'a time in ms, as responses have it')
  const before = Date.now()
  const last = (await post('/v1/admin/users/ada/revoke')).body.before as number
  t.ok(last >= before && last <= Date.now(), 'the time of the revocation is now by default')
})

t.test("unsubscribe removes a channel from a user's connections only", async t => {
  const { post, node, token } = await controlled(t)
  const caps = [{ channels: ['room:*'], allow: ['sub'] }]
  const there = await follow(t, node, '/v1/sse?channel=room:1', token('ada', { caps }))
  const elsewhere = await follow(t, node, '/v1/sse?channel=room:2', token('ada', { caps }))
  const answer = await post('/v1/admin/channels/room:1/unsubscribe', { user: 'ada' })
  t.strictSame([answer.status, answer.body], [202, { user: 'ada', channel: 'room:1' }])
  await there.ended
  const [id = ''] = await node.append('room:2', '1')
  await elsewhere.saw(id)
})

t.test('malformed input is rejected with a code and has no effect', async t => {
  const { post } = await controlled(t)
  const user = '/v1/admin/users/ada'
  const future = Math.floor(Date.now() / 1000) + 3600
  const cases: [string, unknown, string][] = [
    [`${user}/revoke`, { before: 'yesterday' }, 'FW_BAD_PARAMETER'],
    [`${user}/revoke`, { before: '2026-01-01T00:00:00' }, 'FW_BAD_PARAMETER'],
    [`${user}/revoke`, { before: -1 }, 'FW_BAD_PARAMETER'],
    [`${user}/revoke`, { before: null }, 'FW_BAD_PARAMETER'],
    [`${user}/revoke`, { before: future }, 'FW_BAD_PARAMETER'],
    [`${user}/revoke`, { before: future * 1000 }, 'FW_BAD_PARAMETER'],
    [`${user}/revoke`, { until: 1 }, 'FW_BAD_PARAMETER'],
    [`${user}/revoke?before=1`, undefined, 'FW_BAD_PARAMETER'],
    [`${user}/revoke`, '{', 'FW_BAD_JSON'],
    [`${user}/revoke`, '[]', 'FW_BAD_PARAMETER'],
    [`${user}/revoke`, '{"__proto__":{}}', 'FW_BAD_PARAMETER'],
    [`${user}/disconnect`, { client: 1 }, 'FW_BAD_PARAMETER'],
    [`/v1/admin/users/${'x'.repeat(201)}/disconnect`, undefined, 'FW_BAD_PARAMETER'],
    ['/v1/admin/users/a%00b/disconnect', undefined, 'FW_BAD_PARAMETER'],
    ['/v1/admin/channels/room:1/unsubscribe', {}, 'FW_BAD_PARAMETER'],
    ['/v1/admin/channels/room:1/unsubscribe', { user: 7 }, 'FW_BAD_PARAMETER'],
    ['/v1/admin/channels/a%20b/unsubscribe', { user: 'ada' }, 'FW_BAD_CHANNEL'],
    ['/v1/admin/channels/fanwire:x/unsubscribe', { user: 'ada' }, 'FW_BAD_CHANNEL'],
  ]
  for (const [path, body, code] of cases) {
    const answer = await post(path, body)
    const what = `${path} ${JSON.stringify(body)}`
    t.equal(answer.status, 400, what)
    t.match(answer.body, { error: { code } }, what)
  }
  const text = await post(`${user}/revoke`, 'x', undefined, { 'content-type': 'text/plain' })
  t.strictSame([text.status, (text.body.error as { code: string }).code], [415, 'FW_MEDIA_TYPE'])
  const large = await post(`${user}/revoke`, JSON.stringify({ before: 'x'.repeat(70_000) }))
  t.strictSame([large.status, (large.body.error as { code: string }).code], [413, 'FW_TOO_LARGE'])
})
