// Process figures from the kernel: /proc of Linux (proc(5)).

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** Microseconds of CPU in one of the kernel's ticks. */
const TICK = 1e6 / Number(execFileSync('getconf', ['CLK_TCK']))
const PAGE = Number(execFileSync('getconf', ['PAGESIZE']))

export interface Cpu {
  /** User and system time together, µs. */
  readonly all: number
  /** System time: spent in the kernel on behalf of the processes. */
  readonly kernel: number
}

/** CPU used by the processes since their start. Exited ones count 0. */
export function cpuOf(pids: readonly number[]): Cpu {
  let user = 0
  let kernel = 0
  for (const pid of pids) {
    const stat = read(`/proc/${pid}/stat`)
    // The second field, a name in brackets, may contain anything; utime and stime are the 14th and 15th.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    user += Number(fields[11] ?? 0)
    kernel += Number(fields[12] ?? 0)
  }
  return { all: (user + kernel) * TICK, kernel: kernel * TICK }
}

/** Resident memory of the processes, bytes. */
export function residentOf(pids: readonly number[]): number {
  let pages = 0
  for (const pid of pids) pages += Number(read(`/proc/${pid}/statm`).split(' ')[1] ?? 0)
  return pages * PAGE
}

/** A process and all its descendants. */
export function familyOf(pid: number): number[] {
  const children = read(`/proc/${pid}/task/${pid}/children`).split(' ').filter(Boolean).map(Number)
  return [pid, ...children.flatMap(familyOf)]
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}
