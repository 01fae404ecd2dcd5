// The report: a Markdown table with a row for each fault, for the terminal, a file and the documents.

import { table } from '../../bench/report.ts'
import { type Census, type Course, totalOf } from './census.ts'
import type { Outcome } from './run.ts'

export interface ChaosResult {
  readonly command: string
  readonly date: string
  readonly machine: string
  readonly node: string
  readonly seed: number
  /** Cases that the nodes of this version do not support. */
  readonly left: readonly string[]
  readonly outcomes: readonly Outcome[]
}

const EVENTS = [
  'fault',
  'published',
  'acknowledged',
  'refused at first',
  'connections ended',
  'delivered',
  'repeated',
  'reordered',
  'lost silently',
  'reported as gap',
  'gaps reported',
]

/** What a webhook received, and what nodes and Redis held before the load, under it, and after it. */
const HELD = [
  'fault',
  'lives received',
  'lives repeated',
  'gaps of lives',
  'descriptors before, under load, after',
  'sockets',
  'connections',
  'readers',
  'keys in Redis',
  'its data, KiB',
]

function courseOf(held: Course | undefined, figure: (census: Census) => number): string {
  if (held === undefined) return ''
  const { before, during, after } = held
  return [before, during, after].map(census => figure(census).toLocaleString('en')).join(', ')
}

function eventsOf({ title, verdict, refused, ends }: Outcome): string[] {
  const { published, acknowledged, delivered, repeated, reordered, lost, gapped, gaps } = verdict
  const figures = [published, acknowledged, refused, ends, delivered, repeated, reordered, lost, gapped, gaps]
  return [title, ...figures.map(figure => figure.toLocaleString('en'))]
}

function heldOf({ title, lives, held }: Outcome): string[] {
  return [
    title,
    ...[lives?.received, lives?.repeated, lives?.gaps].map(figure => figure?.toLocaleString('en') ?? ''),
    courseOf(held, census => totalOf(census, 'descriptors')),
    courseOf(held, census => totalOf(census, 'sockets')),
    courseOf(held, census => totalOf(census, 'connections')),
    courseOf(held, census => totalOf(census, 'readers')),
    courseOf(held, ({ keys }) => keys),
    courseOf(held, ({ redis }) => Math.round(redis / 1024)),
  ]
}

export function markdown({ command, date, machine, node, seed, left, outcomes }: ChaosResult): string {
  const passed = outcomes.filter(({ wrong }) => wrong.length === 0).length
  const findings = outcomes.flatMap(({ title, wrong, notes }) => [
    ...notes.map(note => `- ${title}: ${note}`),
    ...wrong.map(each => `- **${title}: ${each}**`),
  ])
  return [
    `\`${command}\` (seed ${seed}) on ${machine}, Node ${node}, ${date.slice(0, 10)}: ` +
      `${passed} of ${outcomes.length} passed.`,
    table(EVENTS, outcomes.map(eventsOf)),
    table(HELD, outcomes.map(heldOf)),
    ...(left.length > 0 ? [`Left out: ${left.join(', ')}.`] : []),
    ...(findings.length > 0 ? [findings.join('\n')] : []),
  ].join('\n\n')
}
