// All cases, in the order of the table.

import { accept } from './accept.ts'
import type { Case } from './case.ts'
import { calm, hotCentrifuge, hotSse, hotWs, large } from './hot.ts'
import { idle } from './idle.ts'
import { many } from './many.ts'
import { neighbour } from './neighbour.ts'
import { publish } from './publish.ts'
import { quiet } from './quiet.ts'
import { stalled } from './stalled.ts'
import { storm } from './storm.ts'
import { tokens } from './tokens.ts'

export const cases: readonly Case[] = [
  hotWs,
  hotSse,
  hotCentrifuge,
  calm,
  large,
  publish,
  many,
  accept,
  idle,
  quiet,
  neighbour,
  stalled,
  storm,
  tokens,
]
