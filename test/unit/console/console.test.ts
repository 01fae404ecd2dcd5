// A node serves the console's files.

import t from 'tap'
import { startMemoryNode } from '../../contract/node.ts'
import '../../support/built-console.ts'

t.test('the page may run only its own files, and is revalidated', async t => {
  const node = await startMemoryNode()
  t.teardown(() => node.close())
  const url = `http://127.0.0.1:${node.port}/console`
  const answer = await fetch(url)
  t.equal(answer.status, 200)
  t.match(answer.headers.get('content-type'), 'text/html')
  const policy = answer.headers.get('content-security-policy') ?? ''
  t.match(policy, "default-src 'none'; script-src 'self'")
  t.notMatch(policy, 'unsafe')
  const html = await answer.text()
  t.notMatch(html, /https?:/, 'the page loads nothing from other hosts')
  for (const [, path = ''] of html.matchAll(/(?:src|href)="([^"]+)"/g)) {
    t.equal((await fetch(new URL(path, url))).status, 200, path)
  }
  const etag = answer.headers.get('etag') ?? ''
  t.equal((await fetch(url, { headers: { 'if-none-match': etag } })).status, 304)
  t.equal((await fetch(`${url}?x=1`)).status, 400)
})

t.test('/ links to all pages', async t => {
  const node = await startMemoryNode()
  t.teardown(() => node.close())
  const answer = await fetch(`http://127.0.0.1:${node.port}/`)
  t.match(await answer.json(), { service: 'fanwire', console: '/console', docs: '/docs', ready: '/readyz' })
})

t.test('FANWIRE_CONSOLE=0 removes the console', async t => {
  const node = await startMemoryNode({ CONSOLE: '0' })
  t.teardown(() => node.close())
  t.equal((await fetch(`http://127.0.0.1:${node.port}/console`)).status, 404)
  t.notMatch(await (await fetch(`http://127.0.0.1:${node.port}/`)).text(), '/console')
})
