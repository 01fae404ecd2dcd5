// The console at /console: static files that `npm run build` puts into dist/console. Its page asks this node's own
// routes, with the token of whoever looks; the files themselves hold nothing that is anybody's. And `/`: where things are.

import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { extname } from 'node:path'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { FanwireError } from '../errors.ts'
import { matches } from '../http/conditional.ts'
import { NO_PARAMETERS } from '../http/operation.ts'
import { checkedQuery } from '../http/query.ts'

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
}

/** The page's own files, and requests to the node that it came from. The frame shows the refresh wire. */
const CONTENT_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; frame-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

interface File {
  readonly type: string
  readonly body: Buffer
  readonly etag: string
}

export async function consolePage(app: FastifyInstance): Promise<void> {
  const { config } = app.fanwire
  const on = config.console ?? config.role !== 'writer'
  const route = { config: { anonymous: true, always: true }, exposeHeadRoute: true } as const

  app.get('/', route, async (request, reply) => {
    checkedQuery(request, NO_PARAMETERS)
    const docs = config.docs ?? config.role !== 'writer'
    return reply.header('cache-control', 'no-cache').send({
      service: 'fanwire',
      ...(on && { console: '/console' }),
      ...(docs && { docs: '/docs', openapi: '/openapi.json' }),
      health: '/healthz',
      ready: '/readyz',
    })
  })
  if (!on) return

  const files = await readFiles()
  const show = (name: string) => async (request: FastifyRequest, reply: FastifyReply) => {
    checkedQuery(request, NO_PARAMETERS)
    const file = files.get(name)
    if (file === undefined) {
      throw new FanwireError('FW_NOT_FOUND', 'the console is not built: `npm run build` builds it')
    }
    reply.headers({
      'cache-control': 'no-cache',
      'content-security-policy': CONTENT_POLICY,
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
      etag: file.etag,
    })
    if (matches(request.headers['if-none-match'], file.etag)) return reply.code(304).send()
    return reply.type(file.type).send(file.body)
  }
  app.get('/console', route, show('index.html'))
  for (const name of ['console.js', 'console.css', 'icon.svg']) app.get(`/console/${name}`, route, show(name))
}

/** By name; none where they are not built. They are read once: together about 100 KB. */
async function readFiles(): Promise<ReadonlyMap<string, File>> {
  // From services/console/, and from dist/services/console/.
  for (const path of ['../../dist/console/', '../../console/']) {
    const folder = new URL(path, import.meta.url)
    try {
      const names = (await readdir(folder)).filter(name => extname(name) in TYPES)
      if (names.includes('index.html')) {
        return new Map(
          await Promise.all(names.map(async name => [name, await readOne(new URL(name, folder))] as const)),
        )
      }
    } catch {
      // It is the other one.
    }
  }
  return new Map()
}

async function readOne(url: URL): Promise<File> {
  const body = await readFile(url)
  const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`
  return { type: TYPES[extname(url.pathname)] ?? 'application/octet-stream', body, etag }
}
