// Mercure: invalid input is rejected with a code.

import t from 'tap'
import { accessToken, ALL, HUB, startHub, tokenOf } from '../../support/mercure.ts'
import { secretKey, signToken } from '../../support/tokens.ts'

const { node, post, at } = await startHub()
const ruled = await startHub({}, { default: { subscribe: 'token', publish: 'nobody' } })
t.teardown(() => Promise.all([node.close(), ruled.node.close()]))

const KB_64 = 64 * 1024
/** A token that grants everything, signed with another key of the same name. */
const FORGED = signToken(secretKey('HS256', 'hub', {}, 'x'.repeat(32)), {
  mercure: { publish: ['*'], subscribe: ['*'] },
})

const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } })
const query = (pairs: [string, string][]) => `?${new URLSearchParams(pairs)}`

t.test('invalid requests are rejected with a code', async t => {
  const detail = (more: object) => accessToken([{ actions: ['publish'], topics: [{ match: '*' }], ...more }])
  const form = (fields: Record<string, string | string[]>, token = ALL) =>
    post({ data: '1', ...fields }, token)
  const get = (text: string, token?: string) => fetch(at(text), token === undefined ? {} : bearer(token))
  const raw = (body: string, type?: string) =>
    fetch(at(), {
      method: 'POST',
      body: Buffer.from(body),
      headers: { authorization: `Bearer ${ALL}`, ...(type === undefined ? {} : { 'content-type': type }) },
    })
  const FORM = 'application/x-www-form-urlencoded'
  const refused: readonly (readonly [string, Promise<Response>, number, string, string?])[] = [
    ['no topic', get(''), 400, 'FW_BAD_PARAMETER'],
    ['an unknown matcher', get('?match_regexp=a'), 400, 'FW_BAD_PARAMETER'],
    ['a misspelt matcher', get('?MATCH=a'), 400, 'FW_BAD_PARAMETER'],
    ['a broken URL pattern', get(query([['match_urlpattern', 'https://a/:']])), 400, 'FW_BAD_PARAMETER'],
    ['a regular expression', get(query([['match_urlpattern', '/(a+)+b']])), 400, 'FW_BAD_PARAMETER'],
    ['a costly pattern', get(query([['match_urlpattern', '/*a*b*c']])), 400, 'FW_BAD_PARAMETER'],
    ['a control character', get('?topic=a%00'), 400, 'FW_BAD_PARAMETER'],
    ['an invisible character', get('?match=a%E2%80%8B'), 400, 'FW_BAD_PARAMETER'],
    ['a long topic', get(`?topic=${'a'.repeat(1025)}`), 400, 'FW_BAD_PARAMETER'],
    [
      'many topics',
      get(`?${'topic=a&'.repeat(3)}${Array.from({ length: 300 }, (_, i) => `topic=${i}`).join('&')}`),
      400,
      'FW_TOO_MANY_CHANNELS',
    ],
    ["the node's own topic", get('?topic=fanwire:control'), 400, 'FW_BAD_CHANNEL'],
    ['an invalid token', get('?topic=a', 'x.y.z'), 401, 'FW_UNAUTHORIZED', 'invalid_token'],
    [
      'claims of the wrong form',
      get('?topic=a', tokenOf({ publish: 'a' })),
      401,
      'FW_UNAUTHORIZED',
      'invalid_token',
    ],
    [
      'an unknown matcher type',
      get('?topic=a', accessToken([{ actions: ['subscribe'], topics: [{ match: 'a', match_type: 'x' }] }])),
      401,
      'FW_UNAUTHORIZED',
      'invalid_token',
    ],
    [
      'no exp',
      get(
        '?topic=a',
        accessToken([{ actions: ['subscribe'], topics: [{ match: 'a' }] }], { exp: undefined }),
      ),
      401,
      'FW_UNAUTHORIZED',
      'invalid_token',
    ],
    [
      'a cookie of another page',
      fetch(at('?topic=a'), {
        headers: { cookie: `mercureAuthorization=${ALL}`, origin: 'https://evil.example' },
      }),
      403,
      'FW_FORBIDDEN_ORIGIN',
    ],
    [
      'a publish without a token',
      fetch(at(), { method: 'POST', body: new URLSearchParams({ topic: 'a' }) }),
      401,
      'FW_UNAUTHORIZED',
    ],
    [
      'a topic that is not granted',
      form({ topic: ['a', 'b'] }, tokenOf({ publish: ['a'] })),
      403,
      'FW_FORBIDDEN',
      'insufficient_scope',
    ],
    [
      'a subscriber publishes',
      form({ topic: 'a' }, detail({ actions: ['subscribe'] })),
      403,
      'FW_FORBIDDEN',
      'insufficient_scope',
    ],
    ['no topic', form({}), 400, 'FW_BAD_EVENT'],
    ['64 KiB of spaces', raw(' '.repeat(KB_64), FORM), 400, 'FW_BAD_EVENT'],
    ['64 KiB of separators', raw('&'.repeat(KB_64), FORM), 400, 'FW_BAD_EVENT'],
    ['64 KiB of zeros', raw('\0'.repeat(KB_64), FORM), 400, 'FW_BAD_EVENT'],
    ["a subscriber's forged token", get('?topic=a', FORGED), 401, 'FW_UNAUTHORIZED', 'invalid_token'],
    ["a publisher's forged token", form({ topic: 'a' }, FORGED), 401, 'FW_UNAUTHORIZED', 'invalid_token'],
    ['a cut signature', form({ topic: 'a' }, ALL.slice(0, -1)), 401, 'FW_UNAUTHORIZED', 'invalid_token'],
    ['a topic that the rules close', fetch(ruled.at('?topic=a')), 401, 'FW_UNAUTHORIZED'],
    [
      'a topic that the token does not grant',
      fetch(ruled.at('?topic=a'), bearer(tokenOf({ subscribe: ['b'] }))),
      403,
      'FW_FORBIDDEN',
    ],
    ['a topic to which nobody publishes', ruled.post({ topic: 'a', data: '1' }), 403, 'FW_FORBIDDEN'],
    [
      'invalid UTF-8',
      raw('topic=a&data=%', FORM).then(() =>
        fetch(at(), {
          method: 'POST',
          body: Buffer.from([0x61, 0x3d, 0xff]),
          headers: { authorization: `Bearer ${ALL}`, 'content-type': FORM },
        }),
      ),
      400,
      'FW_BAD_ENCODING',
    ],
    ['JSON', raw('{"topic":"a"}', 'application/json'), 415, 'FW_MEDIA_TYPE'],
    ['no content type', raw('topic=a'), 415, 'FW_MEDIA_TYPE'],
    ['all topics', form({ topic: '*' }), 400, 'FW_BAD_EVENT'],
    [
      "the hub's topics",
      form({ topic: `https://x.example/.well-known/%6Dercure/subscriptions/a` }),
      400,
      'FW_BAD_EVENT',
    ],
    ['an id of the hub', form({ topic: 'a', id: '#1' }), 400, 'FW_BAD_EVENT'],
    ['the id earliest', form({ topic: 'a', id: 'earliest' }), 400, 'FW_BAD_EVENT'],
    ['a line break in the id', form({ topic: 'a', id: 'a\nid: b' }), 400, 'FW_BAD_EVENT'],
    ['a line break in the type', form({ topic: 'a', type: 'a\ndata: b' }), 400, 'FW_BAD_EVENT'],
    ['the type of the hub', form({ topic: 'a', type: 'mercure' }), 400, 'FW_BAD_EVENT'],
    ['an invalid retry', form({ topic: 'a', retry: '1s' }), 400, 'FW_BAD_EVENT'],
    ['too large', form({ topic: 'a', data: 'x'.repeat(1024 * 1024 + 1) }), 413, 'FW_TOO_LARGE'],
    ['another method', fetch(at(), { method: 'DELETE' }), 405, 'FW_METHOD_NOT_ALLOWED'],
    [
      'OAuth metadata, which does not exist',
      fetch(`http://127.0.0.1:${node.port}/.well-known/oauth-protected-resource${HUB}`),
      404,
      'FW_NOT_FOUND',
    ],
  ]
  for (const [name, asking, status, code, challenge] of refused) {
    const answer = await asking
    const text = await answer.text()
    t.match({ status: answer.status, text }, { status, text: new RegExp(`"code":"${code}"`) }, name)
    if (challenge !== undefined)
      t.match(answer.headers.get('www-authenticate'), challenge, `${name}: challenge`)
  }
  const head = await fetch(at('?topic=a'), { method: 'HEAD' })
  t.match([head.status, head.headers.get('content-type')], [200, 'text/event-stream'])
})
