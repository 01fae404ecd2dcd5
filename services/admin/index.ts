// Server control: lists nodes, connections and channels, acts on them, and explains why something is allowed or was
// delivered. Every route needs the right `admin`.

import type { FastifyPluginAsync } from 'fastify'
import { takeBodies } from '../http/body.ts'
import { acts } from './acts.ts'
import { erase } from './erase.ts'
import { answerQuestions } from './answers.ts'
import { explain } from './explain.ts'
import { lists } from './lists.ts'
import { sight } from './sight.ts'

export const admin: FastifyPluginAsync = async app => {
  answerQuestions(app.fanwire)
  takeBodies(app)
  for (const part of [lists, sight, acts, explain, erase]) await app.register(part)
}
