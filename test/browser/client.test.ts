// The client in a real browser: the chat of docs/client.md and its hooks, every wire, offline and back, and two tabs
// that share a connection.

import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'
import t from 'tap'
import { connect } from '../../client/index.ts'
import { startMemoryNode } from '../contract/node.ts'
import { blocksOf } from '../docs/blocks.ts'
import { ClosedWorld } from '../support/closed-node.ts'
import { until } from '../support/until.ts'
import { startBrowser, withoutBrowser } from './browser.ts'
import { read, startSite, WIRES } from './site.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const TIMING = { backoff: 50, poll: 50 }

/** Bundles an example app from the documents. */
function appOf(code: string, url: string, start = ''): string {
  const [output] = buildSync({
    stdin: {
      contents: `${code.replace('https://push.example.com', url)}\n${start}`,
      resolveDir: ROOT,
      loader: 'jsx',
    },
    alias: {
      'fanwire/client': './client/index.ts',
      'fanwire/react': './client/react.ts',
      'fanwire/vue': './client/vue.ts',
      vue: './node_modules/vue/dist/vue.esm-bundler.js',
    },
    define: { 'process.env.NODE_ENV': '"development"' },
    absWorkingDir: ROOT,
    jsx: 'automatic',
    bundle: true,
    format: 'esm',
    write: false,
  }).outputFiles
  return output?.text ?? ''
}

const MEMBERS = {
  '/react': `import { connect } from 'fanwire/client'
import { FanwireProvider, useChannel, usePresence } from 'fanwire/react'
const client = connect(URL, { getToken: () => TOKEN })
function Members() {
  useChannel('room:1')
  return <ul>{usePresence('room:1').map(({ user }) => <li key={user}>{user}</li>)}</ul>
}
const App = () => <FanwireProvider client={client}><Members /></FanwireProvider>`,
  '/vue': `import { createApp } from 'vue'
import { connect } from 'fanwire/client'
import { fanwirePlugin, useChannel, usePresence } from 'fanwire/vue'
const Members = {
  setup: () => ({ events: useChannel('room:1'), members: usePresence('room:1') }),
  template: '<ul><li v-for="{ user } in members" :key="user">{{ user }}</li></ul>',
}
createApp(Members).use(fanwirePlugin, connect(URL, { getToken: () => TOKEN })).mount('#app')`,
}

const STRICT = `import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
createRoot(document.querySelector('#app')).render(<StrictMode><App /></StrictMode>)`

const appPage = (script: string) =>
  `<!doctype html><div id="app"></div><script type="module" src="${script}"></script>`

t.test('the client in a browser', { skip: withoutBrowser }, async t => {
  const node = await startMemoryNode()
  const url = `http://127.0.0.1:${node.port}`
  const blocks = blocksOf('docs/client.md')
  const textOf = (part: string) => blocks.find(({ text }) => text.includes(part))?.text ?? ''
  const chat = textOf('<!doctype html>')
    .replace('http://127.0.0.1:8080/client.js', '/client.js')
    .replaceAll('http://127.0.0.1:8080', url)
  const site = await startSite({
    '/': chat,
    '/react': appPage('/react.js'),
    '/react.js': appOf(textOf("'fanwire/react'"), url, STRICT),
    '/vue': appPage('/vue.js'),
    '/vue.js': appOf(textOf("'fanwire/vue'"), url),
  })
  const browser = await startBrowser()
  t.teardown(async () => {
    await browser.close()
    site.close()
    await node.close()
  })
  const context = await browser.newContext()
  const open = async (path: string) => {
    const tab = await context.newPage()
    await tab.goto(site.url + path)
    return tab
  }
  const readers = async (channel: string) =>
    (JSON.parse((await node.get(`/v1/channels/${channel}`)).body) as { readers: number }).readers

  const [ada, bob] = [await open('/'), await open('/')]
  await ada.fill('[name=text]', 'hello')
  await ada.click('button')
  for (const each of [ada, bob]) await each.locator('li', { hasText: 'hello' }).waitFor()
  await Promise.all([ada.close(), bob.close()])

  await node.append('news', '{"title":"before"}')
  for (const path of ['/react', '/vue']) {
    const app = await open(path)
    await app.locator('li', { hasText: 'before' }).waitFor()
    await node.append('news', JSON.stringify({ title: path }))
    await app.locator('li', { hasText: path }).waitFor()
    // The page before may be leaving.
    await until(`${path}: one reader`, async () => (await readers('news')) === 1)
    await app.close()
  }

  for (const wire of WIRES) {
    const { tab, has, seen } = await read(context, site, {
      url,
      channel: wire,
      options: { wires: [wire], timing: TIMING },
    })
    await node.append(wire, '1')
    await has(1)
    await context.setOffline(true)
    await node.append(wire, '2')
    await context.setOffline(false)
    await has(2)
    t.strictSame(await seen(), [1, 2], `${wire}, offline and back`)
    await tab.close()
  }

  const shared = { url, channel: 'tabs', options: { tabs: 'shared', timing: TIMING } }
  const tabs = [await read(context, site, shared), await read(context, site, shared)] as const
  await node.append('tabs', '1')
  for (const each of tabs) await each.has(1)
  await until('tabs share a reader', async () => (await readers('tabs')) === 1)
  await tabs[0].tab.close()
  await node.append('tabs', '2')
  await tabs[1].has(2)
  t.strictSame(await tabs[1].seen(), [1, 2], 'the other tab continues')
})

t.test('members of a channel, in React and in Vue', { skip: withoutBrowser }, async t => {
  const world = new ClosedWorld()
  const node = await startMemoryNode({ ...world.settings, PRESENCE_GRACE: '100ms' })
  const url = `http://127.0.0.1:${node.port}`
  const browser = await startBrowser()
  for (const [path, code] of Object.entries(MEMBERS)) {
    const token = world.token({ sub: `user of ${path.slice(1)}` })
    const constants = `const URL = ${JSON.stringify(url)}, TOKEN = ${JSON.stringify(token)}`
    const script = appOf(`${constants}\n${code}`, url, path === '/react' ? STRICT : '')
    const site = await startSite({ '/': appPage('/app.js'), '/app.js': script })
    const app = await browser.newPage()
    await app.goto(site.url)
    await app.locator('li', { hasText: 'user of' }).waitFor()
    const bob = connect(url, { getToken: () => world.token({ sub: 'bob' }) })
    bob.subscribe('room:1').on('event', () => {})
    await app.locator('li', { hasText: 'bob' }).waitFor()
    bob.close()
    await app.locator('li', { hasText: 'bob' }).waitFor({ state: 'detached' })
    t.strictSame(await app.locator('li').allTextContents(), [`user of ${path.slice(1)}`], `${path}: bob left`)
    await app.close()
    site.close()
    // The next page would list this page's user too.
    const { presence } = node.app.fanwire
    await until('nobody is left', async () => (await presence.count('room:1')).users === 0)
  }
  await browser.close()
  await node.close()
})
