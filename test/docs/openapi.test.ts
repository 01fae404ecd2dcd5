// openapi.json describes every route, passes an independent validator, and matches what a node serves.

import { readFileSync } from 'node:fs'
import { Validator } from '@seriousme/openapi-schema-validator'
import t from 'tap'
import { startMemoryNode } from '../contract/node.ts'
import { EVERYTHING } from '../support/everything.ts'
import { openApi } from './openapi.ts'

const path = new URL('../../openapi.json', import.meta.url)

t.test('openapi.json equals the output of `npm run docs`', async t => {
  t.equal(readFileSync(path, 'utf8'), await openApi())
})

t.test('openapi.json is valid OpenAPI 3.1', async t => {
  const validator = new Validator()
  const { valid, errors } = await validator.validate(JSON.parse(readFileSync(path, 'utf8')))
  t.same(errors ?? [], [])
  t.equal(valid, true)
  t.equal(validator.version, '3.1')
})

t.test('every route of a node has a schema, except pages and scripts', async t => {
  const node = await startMemoryNode(EVERYTHING)
  t.teardown(() => node.close())
  const bare = node.routes.filter(({ schema }) => schema === undefined).map(({ url }) => url)
  t.same([...new Set(bare)].sort(), [
    '/',
    '/client.global.js',
    '/client.js',
    '/console',
    '/console/console.css',
    '/console/console.js',
    '/console/icon.svg',
    '/docs',
    '/docs/reference.js',
    '/openapi.json',
  ])
})

t.test('a node serves openapi.json, and a page for it that loads nothing from other hosts', async t => {
  const node = await startMemoryNode({})
  t.teardown(() => node.close())
  const api = await node.get('/openapi.json')
  t.equal(api.status, 200)
  t.equal(JSON.parse(api.body).openapi, '3.1.0')
  const page = await node.get('/docs')
  t.match(page.headers['content-security-policy'], /default-src 'none'; connect-src 'self'/)
  t.notMatch(page.body, /https?:\/\//)
  const script = await node.get('/docs/reference.js')
  t.ok(script.body.length > 1_000_000)
  const without = await startMemoryNode({ DOCS: '0' })
  t.teardown(() => without.close())
  t.equal((await without.get('/docs')).status, 404)
})
