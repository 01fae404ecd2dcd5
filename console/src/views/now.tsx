// The current state of all nodes, from their counters. Rates are differences between two samples.

import { useEffect, useState } from 'preact/hooks'
import type { NodeStats } from '../../../services/broker/control/stats.ts'
import { get } from '../api.ts'
import { bytes, count, counted, duration, ms, quantile } from '../format.ts'
import { Figure, Panel, Plot, Problem } from '../parts.tsx'
import { usePolled } from '../state.ts'
import { type Column, Table } from '../table.tsx'

/** A node of `/v1/admin/stats`. */
interface NodeStatus extends NodeStats {
  readonly id: string
  readonly role: string
  readonly version: string
  readonly host: string
  readonly started: number
}

type Wire = NodeStats['wires'][string]

interface Stats {
  readonly nodes: readonly NodeStatus[]
  readonly silent: readonly string[]
}

const EVERY_MS = 2000
/** Number of samples in a plot: five minutes. */
const SAMPLES = 150

const sum = (values: readonly number[]) => values.reduce((all, value) => all + value, 0)
const deliveriesOf = ({ wires }: NodeStatus) => sum(Object.values(wires).map(({ deliveries }) => deliveries))
const gapsOf = ({ wires }: NodeStatus) => sum(Object.values(wires).map(({ gaps }) => gaps))

/** The increase per second between two samples, over the nodes that are in both. */
function rate(now: Stats, before: Stats | undefined, of: (node: NodeStatus) => number): number {
  const old = new Map(before?.nodes.map(node => [node.id, node]))
  return sum(
    now.nodes.map(node => {
      const last = old.get(node.id)
      return last === undefined || node.at <= last.at
        ? 0
        : ((of(node) - of(last)) * 1000) / (node.at - last.at)
    }),
  )
}

interface Sample {
  readonly time: number
  readonly published: number
  readonly delivered: number
  readonly gaps: number
  readonly failed: number
  readonly p50: number
  readonly p99: number
  readonly connections: number
  readonly cpu: number
}

function sampleOf(now: Stats, before: Stats | undefined): Sample {
  const delays = now.nodes.flatMap(({ delays }) => delays)
  return {
    time: Date.now() / 1000,
    published: rate(now, before, ({ appends }) => appends.appended),
    delivered: rate(now, before, deliveriesOf),
    gaps: rate(now, before, gapsOf),
    failed: rate(now, before, ({ appends }) => appends.failed),
    p50: quantile(delays, 0.5),
    p99: quantile(delays, 0.99),
    connections: sum(now.nodes.flatMap(({ wires }) => Object.values(wires).map(each => each.connections))),
    cpu: rate(now, before, ({ cpu }) => cpu) / 10,
  }
}

/** Problems, the worst first. */
function problemsOf({ nodes, silent }: Stats, samples: readonly Sample[]): string[] {
  const found: string[] = []
  for (const { id, host, ready, takesEvents, reason, overloaded, problems } of nodes) {
    const name = `Node ${id} on ${host}`
    if (!ready) found.push(`${name} is not ready: ${reason ?? 'reason unknown'}.`)
    else if (!takesEvents) found.push(`${name} accepts no publishes: ${reason ?? 'reason unknown'}.`)
    if (overloaded !== undefined) {
      found.push(`${name} rejects new readers: it is short of ${overloaded === 'loop' ? 'CPU' : 'memory'}.`)
    }
    for (const setting of problems) {
      found.push(
        `${name} cannot use the file of ${setting}, and uses its previous content. See the log of the node.`,
      )
    }
  }
  for (const id of silent) found.push(`Node ${id} does not answer.`)
  const recent = samples.slice(-30)
  if (recent.some(({ failed }) => failed > 0))
    found.push('Publishes failed in the last minute: the log did not accept them.')
  if (recent.some(({ gaps }) => gaps > 0))
    found.push(
      'Readers received gaps in the last minute: they resumed after the log had dropped older events.',
    )
  const behind = sum(nodes.map(each => each.behind))
  if (behind > 0) found.push(`${counted(behind, 'connection')} blocked: the clients read too slowly.`)
  return found
}

export function Now() {
  const { value, error } = usePolled(signal => get<Stats>('/v1/admin/stats', signal), EVERY_MS, [])
  const [{ samples }, setHistory] = useState<{ samples: readonly Sample[]; last: Stats | undefined }>({
    samples: [],
    last: undefined,
  })
  useEffect(() => {
    if (value === undefined) return
    setHistory(({ samples, last }) => ({
      samples: [...samples.slice(1 - SAMPLES), sampleOf(value, last)],
      last: value,
    }))
  }, [value])
  const newest = samples.at(-1)
  const problems = value === undefined ? [] : problemsOf(value, samples)
  const line = (name: string, of: (sample: Sample) => number) => ({ name, values: samples.map(of) })
  const times = samples.map(({ time }) => time)
  return (
    <>
      <h1>Now</h1>
      <Problem error={error} />
      <div class={problems.length === 0 ? 'state good' : 'state bad'} role="status">
        {value === undefined ? (
          'Requesting the state of the nodes…'
        ) : problems.length === 0 ? (
          'No problems.'
        ) : (
          <ul>
            {problems.map(each => (
              <li key={each}>{each}</li>
            ))}
          </ul>
        )}
      </div>
      {value !== undefined && newest !== undefined && (
        <>
          <dl class="figures">
            <Figure name="Nodes" value={count(value.nodes.length)} note={value.nodes[0]?.engine ?? ''} />
            <Figure name="Connections" value={count(newest.connections)} />
            <Figure name="Published" value={`${count(newest.published)}/s`} />
            <Figure name="Delivered" value={`${count(newest.delivered)}/s`} />
            <Figure name="Delay p50" value={ms(newest.p50)} note="through the log" />
            <Figure name="Delay p99" value={ms(newest.p99)} note="last minute" />
            <Figure
              name="Behind"
              value={count(sum(value.nodes.map(({ behind }) => behind)))}
              note="connections"
            />
            <Figure name="CPU" value={`${Math.round(newest.cpu)} %`} note="of one core" />
          </dl>
          <div class="grid four">
            <Panel title="Events">
              <Plot
                title="per second"
                times={times}
                series={[
                  line('published', each => each.published),
                  line('delivered', each => each.delivered),
                ]}
                print={count}
              />
            </Panel>
            <Panel title="Delay">
              <Plot
                title="append to delivery"
                times={times}
                series={[line('p50', each => each.p50), line('p99', each => each.p99)]}
                print={ms}
              />
            </Panel>
            <Panel title="Connections">
              <Plot
                title="open"
                times={times}
                series={[line('all wires', each => each.connections)]}
                print={count}
              />
            </Panel>
            <Panel title="By wire">
              <Wires nodes={value.nodes} />
            </Panel>
            <Panel title="Nodes" wide>
              <Nodes nodes={value.nodes} />
            </Panel>
          </div>
        </>
      )}
    </>
  )
}

function Wires({ nodes }: { nodes: readonly NodeStatus[] }) {
  const names = [...new Set(nodes.flatMap(({ wires }) => Object.keys(wires)))].sort()
  const total = (name: string, of: keyof Wire) => sum(nodes.map(({ wires }) => wires[name]?.[of] ?? 0))
  const most = Math.max(1, ...names.map(name => total(name, 'connections')))
  const columns: readonly Column<string>[] = [
    { title: 'Wire', cell: name => name },
    {
      title: 'Connections',
      figures: true,
      cell: name => (
        <>
          <meter min={0} max={most} value={total(name, 'connections')} aria-hidden="true" />{' '}
          {count(total(name, 'connections'))}
        </>
      ),
    },
    { title: 'Delivered', figures: true, cell: name => count(total(name, 'deliveries')) },
    { title: 'Gaps', figures: true, cell: name => count(total(name, 'gaps')) },
  ]
  return <Table label="Wires" columns={columns} rows={names} keyOf={name => name} />
}

const NODE: readonly Column<NodeStatus>[] = [
  { title: 'Node', cell: ({ id }) => <code>{id}</code> },
  { title: 'Host', cell: ({ host }) => host },
  { title: 'Role', cell: ({ role }) => role },
  {
    title: 'State',
    cell: ({ ready, takesEvents }) => (!ready ? 'not ready' : takesEvents ? 'ready' : 'reads only'),
  },
  {
    title: 'Connections',
    figures: true,
    cell: ({ wires }) => count(sum(Object.values(wires).map(({ connections }) => connections))),
  },
  { title: 'Channels', figures: true, cell: ({ channels }) => count(channels) },
  { title: 'Readers', figures: true, cell: ({ readers }) => count(readers) },
  { title: 'Recent', figures: true, cell: ({ recent }) => bytes(recent) },
  { title: 'Memory', figures: true, cell: ({ rss }) => bytes(rss) },
  { title: 'Up', figures: true, cell: ({ at, started }) => duration(at - started) },
]

function Nodes({ nodes }: { nodes: readonly NodeStatus[] }) {
  return <Table label="Nodes" columns={NODE} rows={nodes} keyOf={({ id }) => id} />
}
