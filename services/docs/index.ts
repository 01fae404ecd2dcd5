// The API reference: /openapi.json (OpenAPI 3.1, generated from the schemas of all routes by `npm run docs`), and a page
// that shows it at /docs. Both are in the package; nothing is loaded from elsewhere.

import { createReadStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { NO_PARAMETERS } from '../http/operation.ts'
import { checkedQuery } from '../http/query.ts'

const DAY = 'public, max-age=86400'

/** Allows the page's own files and its inline styles. */
const CONTENT_POLICY =
  "default-src 'none'; connect-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'unsafe-inline'; img-src 'self' data: blob:; " +
  "font-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>fanwire: API</title>
</head>
<body>
<script id="api-reference" data-url="/openapi.json"
  data-configuration='{"withDefaultFonts":false,"telemetry":false,"hideClientButton":true,"showDeveloperTools":"never","showToolbar":"never","agent":{"disabled":true}}'></script>
<script src="/docs/reference.js"></script>
</body>
</html>
`

export async function docs(app: FastifyInstance): Promise<void> {
  const { config } = app.fanwire
  if (!(config.docs ?? config.role !== 'writer')) return
  const route = { config: { anonymous: true, always: true }, exposeHeadRoute: true } as const

  app.get('/openapi.json', route, async (request, reply) => {
    checkedQuery(request, NO_PARAMETERS)
    return reply.type('application/json; charset=utf-8').send(await readOpenApi())
  })

  app.get('/docs', route, async (request, reply) => {
    checkedQuery(request, NO_PARAMETERS)
    reply.headers({ 'content-security-policy': CONTENT_POLICY, 'x-content-type-options': 'nosniff' })
    return reply.type('text/html; charset=utf-8').send(PAGE)
  })

  app.get('/docs/reference.js', route, async (request, reply) => {
    checkedQuery(request, NO_PARAMETERS)
    reply.headers({ 'cache-control': DAY, 'x-content-type-options': 'nosniff' })
    return reply.type('text/javascript; charset=utf-8').send(createReadStream(referenceScript()))
  })
}

/** Reads from the root of the package, which is above both services/ and dist/services/. */
async function readOpenApi(): Promise<string> {
  try {
    return await readFile(new URL('../../openapi.json', import.meta.url), 'utf8')
  } catch {
    return await readFile(new URL('../../../openapi.json', import.meta.url), 'utf8')
  }
}

/** The path of the page's script, in its own package. */
function referenceScript(): string {
  const main = createRequire(import.meta.url).resolve('@scalar/fastify-api-reference')
  return join(dirname(main), 'js/standalone.js')
}
