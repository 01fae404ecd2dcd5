// The services that a node of each role runs.

import type { FastifyPluginAsync } from 'fastify'
import { admin } from '../admin/index.ts'
import { channels } from '../channels/index.ts'
import { client } from '../client/index.ts'
import type { Role } from '../config/config.ts'
import { consolePage } from '../console/index.ts'
import { docs } from '../docs/index.ts'
import { writer } from '../publish/index.ts'
import { hooks } from '../hooks/index.ts'
import { tickets } from '../tickets/index.ts'
import { wires } from '../wires/index.ts'

export const ROLES: Readonly<Record<Role, readonly FastifyPluginAsync[]>> = {
  all: [consolePage, docs, client, channels, tickets, admin, hooks, wires, writer],
  edge: [consolePage, docs, client, channels, tickets, admin, hooks, wires],
  writer: [consolePage, docs, channels, admin, hooks, writer],
}
