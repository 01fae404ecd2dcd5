// Writes openapi.json: the schemas of the routes, as OpenAPI 3.1.

import swagger from '@fastify/swagger'
import Fastify, { type RouteOptions } from 'fastify'
import { format } from 'oxfmt'
import { VERSION } from '../../services/config/version.ts'
import { startMemoryNode } from '../contract/node.ts'
import { EVERYTHING } from '../support/everything.ts'

/** The text of openapi.json. */
export async function openApi(): Promise<string> {
  const node = await startMemoryNode(EVERYTHING)
  try {
    const { code } = await format('openapi.json', JSON.stringify(await describe(node.routes)), {
      printWidth: 120,
    })
    return code
  } finally {
    await node.close()
  }
}

/** Registers the routes without their handlers in an app with the plugin, which describes only routes of its app. */
async function describe(routes: readonly RouteOptions[]): Promise<object> {
  const app = Fastify({ exposeHeadRoutes: false })
  app.setValidatorCompiler(() => () => true)
  app.setSerializerCompiler(() => JSON.stringify)
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'fanwire',
        version: VERSION,
        description:
          'A fan-out broker: publish an event once, read it on any node over any wire, and lose nothing.',
        license: { name: 'MIT', identifier: 'MIT' },
      },
      externalDocs: { url: 'https://fanwire.github.io/fanwire/', description: 'The documentation' },
      servers: [{ url: '/' }],
      components: {
        securitySchemes: {
          bearer: { type: 'http', scheme: 'bearer', description: 'an API key, or a token of a user (JWT)' },
          ticket: {
            type: 'apiKey',
            in: 'query',
            name: 'ticket',
            description: 'good once, from POST /v1/tickets',
          },
        },
      },
      security: [{}, { bearer: [] }, { ticket: [] }],
    },
  })
  for (const { method, url, schema } of routes) {
    if (schema === undefined) continue
    const methods = [method].flat().filter(each => each !== 'HEAD')
    if (methods.length > 0) app.route({ method: methods, url, schema, handler: async () => {} })
  }
  await app.ready()
  const described = app.swagger()
  await app.close()
  return described
}
