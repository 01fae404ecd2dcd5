// Kills and restarts a node with many events in many channels. Measures its start and memory, and checks the events.

import { once } from 'node:events'
import { fork } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { startNode } from '../support/node.ts'
import { TYPESCRIPT } from '../support/typescript.ts'

const FILL = fileURLToPath(new URL('./fill.ts', import.meta.url))

export interface Restart {
  /** Time from the start until the node listens, ms. */
  readonly ready: number
  /** Resident memory of a node with an empty folder, and of the restarted node, MiB. */
  readonly empty: number
  readonly resident: number
}

const residentOf = (pid: number) =>
  Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024

async function start(
  folder: string,
): Promise<{ ready: number; resident: number; port: number; end(): Promise<unknown> }> {
  const began = performance.now()
  const node = await startNode({ env: { FANWIRE_DATA: folder }, built: true })
  const ready = performance.now() - began
  return { ready, resident: residentOf(node.pid), port: node.port, end: () => node.kill() }
}

export async function restartAfterKill(folder: string, events: number, channels: number): Promise<Restart> {
  const first = await start(`${folder}-empty`)
  await first.end()
  const filling = fork(FILL, [folder, `${events}`, `${channels}`], { execArgv: TYPESCRIPT })
  const [, signal] = await once(filling, 'exit')
  if (signal !== 'SIGKILL') throw new Error('the log could not be filled')
  const { ready, resident, port, end } = await start(folder)
  try {
    const answer = await fetch(`http://127.0.0.1:${port}/v1/poll?channel=channel-0&cursor=latest`)
    const { cursor } = (await answer.json()) as { cursor: string }
    if (!cursor.endsWith(`-${Math.ceil(events / channels)}`)) throw new Error(`the head is ${cursor}`)
    return { ready, empty: first.resident, resident }
  } finally {
    await end()
  }
}
