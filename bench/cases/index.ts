// All cases, in the order of the table.

import type { Case } from './case.ts'
import { calm, hotSse, hotWs } from './hot.ts'
import { idle } from './idle.ts'
import { many } from './many.ts'
import { neighbour } from './neighbour.ts'
import { stalled } from './stalled.ts'
import { storm } from './storm.ts'

export const cases: readonly Case[] = [hotWs, hotSse, calm, many, idle, neighbour, stalled, storm]
