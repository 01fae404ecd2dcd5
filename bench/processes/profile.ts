// Summaries of CPU profiles (node --cpu-prof): time by function, and by part of a node.

import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

interface Frame {
  readonly functionName: string
  readonly url: string
  readonly lineNumber: number
}

interface CpuProfile {
  readonly nodes: readonly { readonly id: number; readonly callFrame: Frame; readonly children?: number[] }[]
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

/** Time that was spent in a function itself, µs, and its callers, from the function outwards. */
interface Spent {
  readonly time: number
  readonly stack: readonly Frame[]
}

/** All profiles in a folder and its subfolders. Idle time does not count. */
async function spentIn(dir: string): Promise<Spent[]> {
  const spent: Spent[] = []
  for (const name of await readdir(dir, { recursive: true })) {
    if (name.endsWith('.cpuprofile')) {
      spent.push(...read(JSON.parse(await readFile(join(dir, name), 'utf8')) as CpuProfile))
    }
  }
  return spent.filter(({ stack }) => stack[0]?.functionName !== '(idle)')
}

function read({ nodes, samples, timeDeltas }: CpuProfile): Spent[] {
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]))
  const callers = new Map(nodes.flatMap(({ id, children = [] }) => children.map(child => [child, id])))
  const stackOf = (id: number | undefined): Frame[] => {
    const frame = id === undefined ? undefined : frames.get(id)
    return frame === undefined ? [] : [frame, ...stackOf(callers.get(id as number))]
  }
  const times = new Map<number, number>()
  for (const [i, id] of samples.entries()) times.set(id, (times.get(id) ?? 0) + (timeDeltas[i] ?? 0))
  return [...times].map(([id, time]) => ({ time, stack: stackOf(id) }))
}

/** Functions with the most self time, as `share  function  file:line`. */
export async function hottest(dir: string, most = 25): Promise<string[]> {
  const shares = sharesOf(await spentIn(dir), ([frame]) => (frame === undefined ? '?' : placeOf(frame)))
  return [...shares]
    .sort((a, b) => b[1] - a[1])
    .slice(0, most)
    .map(([place, share]) => `${share.toFixed(1).padStart(5)} %  ${place}`)
}

const WRITES = 'writes to sockets'
const COLLECTOR = 'garbage collector'
const NATIVE = 'native code'
/** The parts of a node, by file; the first pattern that matches counts. Native functions count for the function that called them. */
const FILES: readonly (readonly [string, RegExp])[] = [
  ['Node: HTTP', /^node:(_http|internal\/http|url|internal\/url)/],
  ['Node: all else', /^node:/],
  ['Fastify', /node_modules\/(@?fastify|find-my-way|reusify|toad-cache)/],
  ['ioredis', /node_modules\/(@?ioredis|redis-|standard-as-callback)/],
  ['other packages', /node_modules\//],
  ['fanwire: log', /services\/broker\/log\//],
  ['fanwire: fan-out', /services\/broker\/fanout\//],
  ['fanwire: all else', /services\//],
]
export const PARTS = [WRITES, ...FILES.map(([part]) => part), COLLECTOR, NATIVE]

const LOADING = /^node:internal\/(modules|bootstrap|main)\//

/** The share of each part, %. The loading of modules does not count. */
export async function parts(dir: string): Promise<Map<string, number>> {
  const spent = await spentIn(dir)
  return sharesOf(
    spent.filter(({ stack }) => !stack.some(({ url }) => LOADING.test(url))),
    partOf,
  )
}

function partOf(stack: readonly Frame[]): string {
  const name = stack[0]?.functionName ?? ''
  if (name === '(garbage collector)') return COLLECTOR
  // The functions of Node's sockets, and that of direct writes.
  if (/^write(v|Buffer|(Utf8|Latin1|Ascii)String)$/.test(name) && stack[0]?.url === '') return WRITES
  const file = stack.find(({ url }) => url !== '')?.url ?? ''
  return FILES.find(([, pattern]) => pattern.test(file))?.[0] ?? NATIVE
}

function sharesOf(
  spent: readonly Spent[],
  groupOf: (stack: readonly Frame[]) => string,
): Map<string, number> {
  const total = spent.reduce((sum, { time }) => sum + time, 0)
  const shares = new Map<string, number>()
  for (const { time, stack } of spent) {
    const group = groupOf(stack)
    shares.set(group, (shares.get(group) ?? 0) + (100 * time) / total)
  }
  return shares
}

function placeOf({ functionName, url, lineNumber }: Frame): string {
  const file = url.replace(/^.*\/(node_modules|dist|services)\//, '$1/')
  return `${functionName || '(anonymous)'}${url === '' ? '' : `  ${file}:${lineNumber + 1}`}`
}
