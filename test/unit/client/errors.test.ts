// Which errors the client retries: the codes that the node's table calls retryable.

import t from 'tap'
import { errorIn, errorOf, RETRYABLE } from '../../../client/errors.ts'
import { CODES } from '../../../services/errors.ts'

t.test('a code is retryable for the client exactly if the table of errors says so', async t => {
  const codes = Object.entries(CODES).flatMap(([code, { retryable }]) => (retryable ? [code] : []))
  t.strictSame([...RETRYABLE].sort(), codes.sort())
  t.equal(errorOf({ code: 'FW_NOT_SUBSCRIBED', message: '' }).retry, undefined)
  t.equal(errorOf({ code: 'FW_HOOK_FAILED', message: '' }).retry, 0)
  t.equal(errorOf({ code: 'FW_TOO_MANY_REQUESTS', message: '', retry: 500 }).retry, 500)
})

t.test('a response is retried if its status is temporary', async t => {
  const retryOf = async (status: number, code?: string) => {
    const body = code === undefined ? 'a page of a proxy' : JSON.stringify({ error: { code, message: '' } })
    return (await errorIn(new Response(body, { status }))).retry
  }
  for (const status of [408, 429, 500, 502, 503, 504]) t.equal(await retryOf(status), 0, `${status}`)
  for (const status of [400, 401, 403, 404, 409, 413, 501])
    t.equal(await retryOf(status), undefined, `${status}`)
  t.equal(await retryOf(501, 'FW_NOT_SUPPORTED'), undefined)
  t.equal(await retryOf(500, 'FW_LOG_REFUSED'), undefined)
  t.equal(await retryOf(503, 'FW_NOT_READY'), 0)
  // A gateway's JSON.
  const forbidden = await errorIn(new Response('{"message":"Forbidden"}', { status: 403 }))
  t.match(forbidden, { code: 'HTTP_403', status: 403, retry: undefined })
})
