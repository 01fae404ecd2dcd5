// The browser client: /client.js, a module, and /client.global.js, for a plain <script>, which defines `fanwire`.

import type { FastifyInstance } from 'fastify'
import { serveBuilt } from '../http/built-files.ts'

const HOUR = { 'cache-control': 'public, max-age=3600' }

export async function client(app: FastifyInstance): Promise<void> {
  for (const file of ['client.js', 'client.global.js']) serveBuilt(app, `/${file}`, `client/${file}`, HOUR)
}
