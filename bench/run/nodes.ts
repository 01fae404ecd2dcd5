// Reads the cost of a load for the nodes from their /metrics, if available.

export interface NodeUse {
  /** CPU time since the processes started, s. */
  readonly cpu: number
  /** Resident memory, bytes. */
  readonly resident: number
}

/** Maximum ms until a response. */
const WITHIN = 5000

/** The sum over all nodes; undefined if one does not report it. */
export async function useOf(urls: readonly string[]): Promise<NodeUse | undefined> {
  if (urls.length === 0) return undefined
  const found = await Promise.all(urls.map(read))
  let cpu = 0
  let resident = 0
  for (const each of found) {
    if (each === undefined) return undefined
    cpu += each.cpu
    resident += each.resident
  }
  return { cpu, resident }
}

async function read(url: string): Promise<NodeUse | undefined> {
  try {
    const path = new URL(url).pathname === '/' ? new URL('/metrics', url) : url
    const text = await (await fetch(path, { signal: AbortSignal.timeout(WITHIN) })).text()
    const value = (name: string) => Number(new RegExp(`^${name} (\\S+)`, 'm').exec(text)?.[1])
    const use = { cpu: value('process_cpu_seconds_total'), resident: value('process_resident_memory_bytes') }
    return Number.isFinite(use.cpu) && Number.isFinite(use.resident) ? use : undefined
  } catch {
    return undefined
  }
}
