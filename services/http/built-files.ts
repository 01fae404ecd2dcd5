// Files that `npm run build` puts into dist/, for browsers: the client and the console.

import { readFile } from 'node:fs/promises'
import { extname } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { FanwireError } from '../errors.ts'
import { matches, tagOf } from './conditional.ts'
import { NO_PARAMETERS } from './operation.ts'
import { checkedQuery } from './query.ts'

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
}

interface File {
  readonly body: Buffer
  readonly etag: string
}

/** Serves `file`, relative to dist/, at `path` to everybody. It is read at the first request, then cached. */
export function serveBuilt(
  app: FastifyInstance,
  path: string,
  file: string,
  headers: Readonly<Record<string, string>>,
): void {
  const route = { config: { anonymous: true, always: true }, exposeHeadRoute: true } as const
  let kept: Promise<File> | undefined
  app.get(path, route, async (request, reply) => {
    checkedQuery(request, NO_PARAMETERS)
    const { body, etag } = await (kept ??= read(file).catch((error: Error) => {
      kept = undefined
      throw error
    }))
    reply.headers({ ...headers, etag, 'x-content-type-options': 'nosniff' })
    if (matches(request.headers['if-none-match'], etag)) return reply.code(304).send()
    return reply.type(TYPES[extname(file)] ?? 'application/octet-stream').send(body)
  })
}

async function read(file: string): Promise<File> {
  // From services/http/, and from dist/services/http/.
  for (const dist of ['../../dist/', '../../']) {
    const body = await readFile(new URL(dist + file, import.meta.url)).catch(() => undefined)
    if (body !== undefined) {
      return { body, etag: `"${tagOf(body)}"` }
    }
  }
  throw new FanwireError('FW_NOT_FOUND', `${file} is not built: run npm run build`)
}
