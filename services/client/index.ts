// The browser client: /client.js, a module, and /client.global.js, for a plain <script>, which defines `fanwire`. Both
// are built into the package by `npm run build`.

import { readFile } from 'node:fs/promises'
import { createHash } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { FanwireError } from '../errors.ts'
import { matches } from '../http/conditional.ts'
import { NO_PARAMETERS } from '../http/operation.ts'
import { checkedQuery } from '../http/query.ts'

const HOUR = 'public, max-age=3600'

export async function client(app: FastifyInstance): Promise<void> {
  const route = { config: { anonymous: true, always: true }, exposeHeadRoute: true } as const
  for (const file of ['client.js', 'client.global.js']) {
    let script: Promise<Script> | undefined
    app.get(`/${file}`, route, async (request, reply) => {
      checkedQuery(request, NO_PARAMETERS)
      const { body, etag } = await (script ??= read(file).catch((error: Error) => {
        script = undefined
        throw error
      }))
      reply.headers({ 'cache-control': HOUR, etag, 'x-content-type-options': 'nosniff' })
      if (matches(request.headers['if-none-match'], etag)) return reply.code(304).send()
      return reply.type('text/javascript; charset=utf-8').send(body)
    })
  }
}

interface Script {
  readonly body: Buffer
  readonly etag: string
}

/** From the package's dist/client, which is beside dist/services, or beside services/ where the sources run. */
async function read(file: string): Promise<Script> {
  for (const folder of ['../../client/', '../../dist/client/']) {
    const body = await readFile(new URL(folder + file, import.meta.url)).catch(() => undefined)
    if (body !== undefined)
      return { body, etag: `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"` }
  }
  throw new FanwireError('FW_NOT_FOUND', `${file} is not built: run npm run build`)
}
