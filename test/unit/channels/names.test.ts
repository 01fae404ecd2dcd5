// Channel names in paths and queries: decoded exactly once, and the authorised name is the opened one.

import fc from 'fast-check'
import t, { type Test } from 'tap'
import { isChannelName } from '../../../services/broker/event/names.ts'
import { type Node, startMemoryNode } from '../../contract/node.ts'
import { caps, ClosedWorld } from '../../support/closed-node.ts'

const SIGNS = "_.:~@-/#$=,;!+&()'?"
const LETTERS = [...SIGNS, ...'azAZ09']
const name = fc
  .array(fc.constantFrom(...LETTERS), { minLength: 1, maxLength: 40 })
  .map(all => all.join(''))
  .filter(isChannelName)

t.test('valid names are accepted, and others are not', async t => {
  for (const yes of [...SIGNS]
    .map(sign => `a${sign}`)
    .concat('/', '//', 'a//b', '.../a', 'a/.b/c.', 'a:..')) {
    t.ok(isChannelName(yes), yes)
  }
  for (const no of ['.', '..', './a', 'a/..', 'a/../b', '/.', '/../', 'a/./b', 'fanwire:', 'fanwire:/a']) {
    t.notOk(isChannelName(no), no)
  }
  for (const other of '%"\\<>*{}[]^`| \n\u00e9\ud83d\ude00') t.notOk(isChannelName(`a${other}`), other)
  t.ok(isChannelName('/'.repeat(200)))
  t.notOk(isChannelName('/'.repeat(201)))
})

/** Records the channels for which access was checked, and those opened in the log. */
function watch(node: Node): { authorised: string[]; opened: string[] } {
  const seen = { authorised: [] as string[], opened: [] as string[] }
  const { access } = node.app.fanwire
  const require = access.require.bind(access)
  access.require = (identity, right, channel) => {
    seen.authorised.push(channel ?? 'none')
    return require(identity, right, channel)
  }
  for (const method of ['append', 'read', 'state', 'follow'] as const) {
    const call = node.log[method].bind(node.log) as (channel: string, ...more: unknown[]) => unknown
    Object.assign(node.log, {
      [method]: (channel: string, ...more: unknown[]) => {
        if (!channel.startsWith('fanwire:')) seen.opened.push(channel)
        return call(channel, ...more)
      },
    })
  }
  return seen
}

/** A channel as a path segment. `more`: also percent-encodes characters that do not need it. */
function encoded(channel: string, more: boolean): string {
  const segment = encodeURIComponent(channel)
  return more ? segment.replace(/[-_.~!*'()a-z]/g, sign => `%${sign.charCodeAt(0).toString(16)}`) : segment
}

async function closedNode(t: Test): Promise<{ node: Node; world: ClosedWorld }> {
  const world = new ClosedWorld()
  world.writeRules('default: { subscribe: token, publish: token }')
  const node = await startMemoryNode(world.settings)
  t.teardown(() => node.close())
  return { node, world }
}

t.test('the authorised name is the opened name, and a token for one name opens no other', async t => {
  const { node, world } = await closedNode(t)
  const seen = watch(node)
  const ask = (path: string, token: string, body?: string) =>
    fetch(`http://127.0.0.1:${node.port}${path}`, {
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      ...(body !== undefined && { method: 'POST', body }),
    })
  const property = fc.asyncProperty(name, name, fc.boolean(), async (own, other, more) => {
    // Patterns cannot contain empty segments.
    fc.pre(own !== other && own.split(':').every(segment => segment !== ''))
    const token = world.token({ caps: caps(own, 'sub', 'pub', 'hst') })
    const paths = (channel: string) => [
      `/v1/channels/${encoded(channel, more)}`,
      `/v1/poll?channel=${encoded(channel, more)}`,
    ]
    seen.authorised.length = 0
    seen.opened.length = 0
    const published = await ask(`/v1/channels/${encoded(own, more)}/events`, token, '1')
    t.equal(published.status, 201, own)
    const { channel, id } = (await published.json()) as { channel: string; id: string }
    if (channel !== own) t.equal(channel, own)
    const event = await ask(`/v1/channels/${encoded(own, more)}/events/${id}`, token)
    for (const answer of [event, ...(await Promise.all(paths(own).map(path => ask(path, token))))]) {
      if (answer.status !== 200) t.equal(answer.status, 200, `${answer.url} for ${own}`)
      if (!(await answer.text()).includes(JSON.stringify(own))) t.fail(answer.url)
    }
    if (new Set([...seen.authorised, ...seen.opened]).size !== 1) t.fail(JSON.stringify(seen))
    if (seen.authorised[0] !== own || seen.opened[0] !== own) t.fail(JSON.stringify(seen))
    seen.opened.length = 0
    for (const path of [...paths(other), `/v1/channels/${encoded(other, more)}/events/${id}`]) {
      const { status } = await ask(path, token)
      if (status !== 403) t.equal(status, 403, `${path} with a token for ${own}`)
    }
    if (seen.opened.length > 0) t.fail(`opened ${seen.opened}`)
  })
  await fc.assert(property, { numRuns: 60 })
})

t.test('a double-encoded name or a dot segment is rejected before authorisation', async t => {
  const { node, world } = await closedNode(t)
  const seen = watch(node)
  const headers = { authorization: `Bearer ${world.keys.all.key}` }
  for (const text of ['a%252Fb', 'a%2525', '%252e%252e', 'a%2F..%2Fb', 'a%2f%2e%2e', '%2F.', '%2e%2e%2fb']) {
    for (const path of [
      `/v1/channels/${text}`,
      `/v1/channels/${text}/events/e-1`,
      `/v1/poll?channel=${text}`,
    ]) {
      const { status, body } = await node.get(path, headers)
      t.equal(status, 400, path)
      t.match(body, /FW_BAD_CHANNEL/, path)
    }
  }
  t.strictSame(seen, { authorised: [], opened: [] })
})
