// Idle connections: the resident memory of each.

import { setTimeout as sleep } from 'node:timers/promises'
import { Arena, Meter } from '../arena.ts'
import { atMost, ratio } from '../figures.ts'
import { type Peer, settled, type WireName } from '../peers/peer.ts'
import { residentOf } from '../processes/proc.ts'
import { connectAll } from './broadcast.ts'
import type { Bench, Case, Result } from './case.ts'

const CHANNELS = 100
/** The first connections are not counted: they make the server load and compile code. */
const FIRST = 200
/** Ms that connections stay untouched before they are measured. */
const SETTLE = 10_000

export interface Variant {
  /** The row's label; default: the wire's name. */
  readonly label?: string
  /** Whether every connection has a separate token. */
  readonly tokens?: boolean
  /** Ms that connections stay untouched before they are measured; default: `SETTLE`. */
  readonly settle?: number
}

export async function measureIdle(
  peer: Peer,
  wire: WireName,
  bench: Bench,
  { label = wire, tokens = false, settle = bench.quick ? SETTLE / 2 : SETTLE }: Variant = {},
): Promise<Result> {
  const count = bench.quick ? 3000 : 10_000
  return Arena.with(peer, { heartbeats: true, tokens, profile: bench.profileOf(label) }, async arena => {
    const { server } = arena.peer
    const connect = (group: string, count: number) => connectAll(arena, wire, CHANNELS, group, count)
    await connect('first', FIRST)
    const before = await settled(arena.peer)
    const each = (resident: number) => (resident - before) / 1024 / count

    const { opened, reason } = await connect('idle', count)
    bench.progress(`${opened} connected, waiting`)
    const meter = new Meter(arena)
    await sleep(settle)
    const { cpu, redisCpu } = meter.read()
    meter.stop()
    const residentPerConnection = each(residentOf(server.pids))
    const collectable = arena.peer.collect()
    const collectedPerConnection = each(await settled(arena.peer))
    const { open } = await arena.generator.call('report', { group: 'idle', upto: 0 })
    if (open < count) {
      const why = reason === '' ? 'cut by the server' : reason
      return { label, figures: {}, notes: [`only ${open} of ${count} connections are there: ${why}`] }
    }
    return {
      label,
      figures: {
        idleCpu: cpu / settle,
        idleRedisCpu: redisCpu / settle,
        residentPerConnection,
        ...(collectable ? { collectedPerConnection } : {}),
      },
    }
  })
}

export const idle: Case = {
  name: 'idle',
  title: '10,000 idle connections',
  peers: ['fanwire', 'nchan', 'centrifugo', 'ws', 'socket.io'],
  against: ['before'],
  async run(peer, bench) {
    const results: Result[] = []
    for (const wire of bench.barsOnly ? (['ws'] as const) : peer.wires)
      results.push(await measureIdle(peer, wire, bench))
    return results
  },
  bars(find) {
    const [own, before] = [find('fanwire', 'ws')?.idleCpu, find('before', 'ws')?.idleCpu]
    const times = ratio(own, before)
    return [
      ...(before === undefined
        ? []
        : [atMost('times the CPU before, ws', times, { digits: 2, bar: 0.5, goal: 0.25 })]),
      ...(['ws', 'sse'] as const).flatMap(wire =>
        find('fanwire', wire) === undefined
          ? []
          : atMost(
              `resident memory of an idle ${wire} connection`,
              find('fanwire', wire)?.residentPerConnection,
              { unit: ' KB', bar: 10, goal: 8 },
            ),
      ),
    ]
  },
}
