// The measured deployment: one node, or several edges behind nginx with the configuration of infra/, and a log in
// Redis.

import { freePort } from '../../infra/local/ports.ts'
import { startTopology } from '../../infra/local/topology.ts'
import { COLLECT, COLLECTABLE } from '../processes/garbage.ts'
import { cpuOf, familyOf, residentOf } from '../processes/proc.ts'

export interface Deployment {
  /** The URL for clients. */
  readonly url: string
  /** The same over cleartext HTTP/2, which only a single node has. */
  readonly h2cUrl: string | undefined
  /** Resources that its parts used since their start, and hold now. */
  usage(): Usage
  /** Makes the nodes release unused memory. */
  collect(): void
  close(): Promise<void>
}

/** CPU in µs. */
export interface Usage {
  readonly nodes: number
  readonly redis: number
  readonly balancer: number
  /** Resident memory of the nodes, bytes. */
  readonly resident: number
}

const SETTINGS = {
  LOG_LEVEL: 'warn',
  FANWIRE_SOCKET_IO: '1',
  FANWIRE_DRAIN: '0',
  NODE_OPTIONS: COLLECTABLE.join(' '),
}

/** Starts nodes from dist/: run `npm run build` first. */
export async function deploy(nodes: number): Promise<Deployment> {
  const h2cPort = await freePort()
  const topology = await startTopology(
    nodes === 1
      ? {
          built: true,
          edges: 1,
          writers: 0,
          env: { ...SETTINGS, ROLE: 'all', FANWIRE_H2C_PORT: `${h2cPort}` },
        }
      : { built: true, edges: nodes, writers: 1, lbs: ['nginx'], env: SETTINGS },
  )
  const { edges, writers, lbs, redis } = topology
  const [lb] = lbs
  const [edge] = edges
  const pids = (parts: readonly { readonly pid: number }[]) => parts.flatMap(({ pid }) => familyOf(pid))
  const url = (lb ?? edge)?.url ?? ''
  return {
    url,
    h2cUrl: nodes === 1 ? `http://127.0.0.1:${h2cPort}` : undefined,
    usage: () => ({
      nodes: cpuOf(pids([...edges, ...writers])).all,
      redis: cpuOf(pids(redis === undefined ? [] : [redis])).all,
      balancer: cpuOf(pids(lbs)).all,
      resident: residentOf(pids(edges)),
    }),
    collect() {
      for (const each of edges) each.signal(COLLECT)
    },
    close: () => topology.close('SIGKILL'),
  }
}
