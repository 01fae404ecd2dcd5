// Limits request rates: first by address, before any costly work, then by user or key.

import fp from 'fastify-plugin'
import { addressOf } from './address.ts'

export const addressRates = fp(
  async app => {
    const { limits } = app.fanwire
    if (!limits.has('requests', 'address')) return
    app.addHook('onRequest', (request, _reply, next) => {
      if (request.route.always !== true) limits.request({ address: addressOf(request) })
      next()
    })
  },
  { name: 'fanwire-address-rates', fastify: '5.x' },
)

export const identityRates = fp(
  async app => {
    const { limits } = app.fanwire
    if (!limits.has('requests', 'user', 'key')) return
    app.addHook('onRequest', ({ route, identity }, _reply, next) => {
      if (route.always !== true) limits.request({ identity })
      next()
    })
  },
  { name: 'fanwire-identity-rates', dependencies: ['fanwire-auth'], fastify: '5.x' },
)
