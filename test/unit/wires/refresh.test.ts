// The self-reloading page: its content, its reload URL, and event data that is always shown as text.

import { createHash } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { type Node, startMemoryNode } from '../../contract/node.ts'
import { parsePage, type RefreshPage, unescape } from '../../contract/refresh.ts'
import { fresh } from '../../contract/wires.ts'

const node = await startMemoryNode()
const small = await startMemoryNode({ HISTORY_EVENTS: '4' })
t.teardown(() => Promise.all([node.close(), small.close()]))

interface Page extends RefreshPage {
  readonly status: number
  readonly html: string
  readonly tag: string
}

/** Requests a page. `again` of the result is a path. */
async function look(path: string, headers: Record<string, string> = {}, of: Node = node): Promise<Page> {
  const { status, headers: received, body } = await of.get(path, headers)
  const page = parsePage(body)
  const { refresh = '' } = received
  if (status === 200) {
    t.equal(refresh, `${page.every}; url=?${page.again}`)
    t.match(received['content-type'], /^text\/html; charset=utf-8$/)
  }
  const again = `/v1/refresh${String(refresh).replace(/^\d+; url=/, '')}`
  return { ...page, status, html: body, tag: String(received.etag), again }
}

/** Waits for the next millisecond, so that events have different times. */
async function anotherMillisecond(): Promise<void> {
  for (const now = Date.now(); Date.now() === now;) await setImmediate()
}

const idsOf = ({ rows }: Page) => rows.map(({ id }) => id)
const newOf = ({ rows }: Page) => rows.filter(({ isNew }) => isNew).map(({ id }) => id)

t.test('the page shows the newest events first, and marks new ones at the next load', async t => {
  const channel = fresh()
  const before = await node.append(channel, '1', '2', '3')
  const first = await look(`/v1/refresh?channel=${channel}&limit=2`)
  t.strictSame(idsOf(first), [before[2], before[1]])
  t.strictSame(newOf(first), [], 'nothing is new on the first load')
  t.equal(first.every, 5)

  const second = await look(first.again)
  t.strictSame([idsOf(second), newOf(second)], [idsOf(first), []])
  t.equal(second.again, first.again, 'the reload URL stays the same without new events')
  const third = await look(second.again, { 'if-none-match': second.tag })
  t.strictSame([third.status, third.html, third.again], [304, '', first.again])

  const [id = ''] = await node.append(channel, '4')
  const fourth = await look(second.again, { 'if-none-match': second.tag })
  t.strictSame([idsOf(fourth), newOf(fourth)], [[id, before[2]], [id]])
  t.match(fourth.html, '<b>1 new</b>')
  t.strictSame(newOf(await look(fourth.again)), [])
})

t.test('the page reports the number of new events that it does not show', async t => {
  const channel = fresh()
  await node.append(channel, '0')
  const { again } = await look(`/v1/refresh?channel=${channel}&limit=2`)
  await node.append(channel, ...new Array<string>(7).fill('1'))
  const page = await look(again)
  t.equal(newOf(page).length, 2)
  t.match(page.html, 'and 5 more events since the last look, not shown')
})

t.test('the page shows the newest events of several channels', async t => {
  const [a, b] = [fresh(), fresh()]
  const ids: string[] = []
  for (let i = 0; i < 6; i++) {
    await anotherMillisecond()
    ids.unshift(...(await node.append(i % 3 === 0 ? a : b, `${i}`)))
  }
  const page = await look(`/v1/refresh?channel=${a}&channel=${b}&limit=4`)
  t.strictSame(idsOf(page), ids.slice(0, 4))
  t.match(page.rows[0]?.html, `<span>${b}</span>`)
  const [late = ''] = await node.append(a, '"late"')
  t.strictSame(newOf(await look(page.again)), [late])
})

t.test('the page shows a gap for a cursor that cannot be resumed', async t => {
  const channel = fresh()
  const [first = ''] = await small.append(channel, '1')
  await small.append(channel, '2', '3', '4', '5', '6', '7')
  const page = await look(`/v1/refresh?channel=${channel}&cursor=${first}`, {}, small)
  t.equal(page.rows.length, 4)
  t.match(
    page.html,
    new RegExp(`<li class="gap">${channel}: events after ${first}, up to \\S+, may be lost</li>`),
  )
  t.notMatch((await look(page.again, {}, small)).html, 'class="gap"')
})

t.test('an empty channel has a page, and its first event is new', async t => {
  const channel = fresh()
  const page = await look(`/v1/refresh?channel=${channel}`)
  t.match(page.html, 'no events yet')
  const [id] = await node.append(channel, '1')
  t.strictSame(newOf(await look(page.again)), [id])
})

t.test('data is plain text and nothing else', async t => {
  const channel = fresh()
  const evil = `</div><script>alert(1)</script><img src=x onerror='alert("2")'>&amp;`
  await node.append(
    channel,
    JSON.stringify(evil),
    JSON.stringify({ [evil]: evil, big: 1, list: [evil] }),
    { data: Buffer.from('{"n":12345678901234567890,"e":1e400}'), type: 'numbers' },
    { data: Buffer.from('"aGVsbG8="'), encoding: 'base64' },
    JSON.stringify('long'.repeat(5000)),
    '[1,2]',
    '{}',
    'null',
    ' {"n" : 1}\t',
    ' "text" ',
  )
  const { html, rows } = await look(`/v1/refresh?channel=${channel}`)
  t.notMatch(html, /<script|<img|onerror='/)
  t.equal(html.match(/&#60;script&#62;/g)?.length, 4, 'the script is shown as text')
  const text = (at: number) => unescape((rows.at(-at)?.html ?? '').replace(/<[^>]*>/g, '|'))
  t.ok(text(1).includes(evil))
  t.ok(text(2).includes(`${evil}||`))
  t.match(
    text(3),
    /numbers.*\|n\|.*\|12345678901234567890\|.*\|e\|.*\|1e400\|/,
    'numbers are shown as they were sent',
  )
  t.match(text(4), '5 bytes: |aGVsbG8=')
  t.match(text(5), '… (20,000 characters)')
  t.match(text(6), '|[1,2]|')
  t.match(text(7), '|{}|')
  t.match(text(8), '|null|')
  t.match(text(9), /\|n\|+1\|/, 'white space around an object is ignored')
  t.match(text(10), /\|text\|/, 'white space around a string is ignored')
  const [link = ''] = /channels\/[^"]*/.exec(rows.at(-3)?.html ?? '') ?? []
  t.equal((await node.get(`/v1/${link}`)).status, 200, 'the page links to the event')
})

t.test('no script may run, and nothing may be loaded', async t => {
  const { headers, body } = await node.get(`/v1/refresh?channel=${fresh()}`)
  const style = /<style>(.*)<\/style>/s.exec(body)?.[1] ?? ''
  const hash = createHash('sha256').update(style).digest('base64')
  t.equal(
    headers['content-security-policy'],
    `default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'`,
  )
  t.notMatch(body, /<script|src=|@import|url\(/)
})

t.test('malformed input is rejected with a code', async t => {
  for (const [query = '', code] of [
    ['', 'FW_BAD_CHANNEL'],
    ['channel=a&every=0', 'FW_BAD_PARAMETER'],
    ['channel=a&every=3601', 'FW_BAD_PARAMETER'],
    ['channel=a&every=1.5', 'FW_BAD_PARAMETER'],
    ['channel=a&limit=1001', 'FW_BAD_PARAMETER'],
    ['channel=a&wait=5', 'FW_BAD_PARAMETER'],
    ['channel=a&cursor=!', 'FW_BAD_CURSOR'],
  ]) {
    const { status, headers, body } = await node.get(`/v1/refresh?${query}`)
    t.strictSame([status, JSON.parse(body).error.code, headers.refresh], [400, code, undefined], query)
  }
})

t.test('a page that fails temporarily reloads by itself', async t => {
  const own = await startMemoryNode()
  t.teardown(() => own.close())
  await own.append('a', '1')
  own.app.fanwire.health.drain()
  const { status, headers } = await own.get('/v1/refresh?channel=a')
  t.equal(status, 503)
  t.match(headers.refresh, /^[1-9]$/)
})

t.test('S6: channels share the bytes of a page, and only a little more is read', async t => {
  // Memory is empty, so the log is read.
  const own = await startMemoryNode({ MEMORY: '1KiB' })
  t.teardown(() => own.close())
  const channels = Array.from({ length: 20 }, fresh)
  const data = JSON.stringify('x'.repeat(50_000))
  for (const channel of channels) await own.append(channel, ...Array.from({ length: 60 }, () => data))
  const query = channels.map(channel => `channel=${channel}`).join('&')
  const read = own.log.read.bind(own.log)
  let bytes = 0
  own.log.read = async (...args) => {
    const page = await read(...args)
    for (const { json } of page.events) bytes += json.length
    return page
  }
  const first = await own.get(`/v1/poll?${query}`)
  const begin = JSON.parse(first.body).cursor
  bytes = 0
  for (const cursor of ['earliest', 'latest', begin]) {
    const { status, body } = await own.get(`/v1/refresh?${query}&cursor=${cursor}&limit=1000`)
    t.equal(status, 200)
    t.match(body, /<li/)
  }
  // 60 MB are stored. A read returns up to 4 MiB; if the newest events do not fit, a later part is read.
  t.ok(bytes < 3 * 3 * 4 * 2 ** 20, `${bytes} bytes`)
})

t.test('S6: only the shown events are converted to text', async t => {
  const own = await startMemoryNode()
  t.teardown(() => own.close())
  const channels = Array.from({ length: 30 }, fresh)
  const data = JSON.stringify({ text: 'x'.repeat(500_000) })
  for (const channel of channels) await own.append(channel, data)
  const { body } = await own.get(`/v1/refresh?${channels.map(channel => `channel=${channel}`).join('&')}`)
  const rows = body.match(/500,000 characters/g)?.length ?? 0
  t.ok(rows >= 1 && rows * 500_000 <= 4 * 2 ** 20, `${rows} events`)
})
