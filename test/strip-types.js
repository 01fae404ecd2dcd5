// Runs TypeScript without a build: node --import ./test/strip-types.js file.ts. Spaces replace types, so that lines and
// columns stay the same. Results are cached by hash in .cache/strip. Node 22.18 and later strip types by themselves.

import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import module from 'node:module'
import { fileURLToPath } from 'node:url'

const CACHE = fileURLToPath(new URL('../.cache/strip/', import.meta.url))
const HOOKS = '?hooks'
const inHooks = import.meta.url.endsWith(HOOKS)
const TAP = '_TAPJS_PROCESSINFO_'

/**
 * With this module, tap follows every promise and callback of a process, to know which test an uncaught error belongs to.
 * That takes a tenth of the CPU, also in the nodes that run in the process. Without it, an uncaught error ends its file,
 * which then fails. (tap's plugin for mocks would load that module before this file: package.json turns it off.)
 */
const FOLLOWING = '/async-hook-domain/'
const FOLLOWS_NOTHING = {
  format: 'module',
  shortCircuit: true,
  source: 'export class Domain { destroy() {} }',
}

if (process.features.typescript) {
  module.enableCompileCache(CACHE)
  module.registerHooks({
    load: (url, context, nextLoad) => (url.includes(FOLLOWING) ? FOLLOWS_NOTHING : nextLoad(url, context)),
  })
} else if (!inHooks) {
  mkdirSync(CACHE, { recursive: true })
  module.register(import.meta.url + HOOKS)
}
if (!inHooks && process.env[`${TAP}COVERAGE_`] === '0') await startsChildrenPlainly()

/**
 * For its coverage, tap makes every Node process that a test starts record the modules that it loads, which takes half
 * of the process's CPU. Without coverage, child processes start as they would outside tap.
 */
async function startsChildrenPlainly() {
  process.setSourceMapsEnabled(false)
  const { default: spawns } = await import('process-on-spawn')
  spawns.addListener(child => {
    const env = Object.entries(child.env).filter(([name]) => !name.startsWith(TAP))
    const { NODE_OPTIONS, ...others } = Object.fromEntries(env)
    const own = NODE_OPTIONS?.replace(/"?--import=[^\s"]*\/@tapjs\/processinfo\/[^\s"]*"?/g, '').trim()
    child.env = own ? { ...others, NODE_OPTIONS: own } : others
  })
}

/** The load hook of Node's module customization: https://nodejs.org/docs/latest-v20.x/api/module.html#loadurl-context-nextload */
export async function load(url, context, nextLoad) {
  if (url.includes(FOLLOWING)) return FOLLOWS_NOTHING
  if (!url.endsWith('.ts')) return nextLoad(url, context)
  const source = readFileSync(fileURLToPath(url), 'utf8')
  const kept = `${CACHE}${createHash('sha1').update(source).digest('hex')}.js`
  return { format: 'module', shortCircuit: true, source: read(kept) ?? (await strip(url, source, kept)) }
}

function read(file) {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

async function strip(url, source, kept) {
  const { default: blank } = await import('ts-blank-space')
  const code = blank(source, node => {
    throw new Error(`${url}: a ${node.getText().slice(0, 40)} … is more than types`)
  })
  const own = `${kept}.${process.pid}`
  writeFileSync(own, code)
  renameSync(own, kept)
  return code
}
