// Summary of a CPU profile (node --cpu-prof): time by function.

import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
  }[]
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

/** Functions with the most self time, as `share  function  file:line`. Idle time does not count. */
export async function hottest(dir: string, most = 25): Promise<string[]> {
  const times = new Map<string, number>()
  for (const name of await readdir(dir)) {
    if (!name.endsWith('.cpuprofile')) continue
    const profile = JSON.parse(await readFile(join(dir, name), 'utf8')) as CpuProfile
    const places = new Map(profile.nodes.map(({ id, callFrame }) => [id, placeOf(callFrame)]))
    for (const [i, id] of profile.samples.entries()) {
      const place = places.get(id) ?? '?'
      if (place.startsWith('(idle)')) continue
      times.set(place, (times.get(place) ?? 0) + (profile.timeDeltas[i] ?? 0))
    }
  }
  const total = [...times.values()].reduce((a, b) => a + b, 0)
  return [...times]
    .sort((a, b) => b[1] - a[1])
    .slice(0, most)
    .map(([place, time]) => `${((100 * time) / total).toFixed(1).padStart(5)} %  ${place}`)
}

function placeOf({ functionName, url, lineNumber }: CpuProfile['nodes'][number]['callFrame']): string {
  const file = url.replace(/^.*\/(node_modules|dist|services)\//, '$1/')
  return `${functionName || '(anonymous)'}${url === '' ? '' : `  ${file}:${lineNumber + 1}`}`
}
