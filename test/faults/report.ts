// The account as people read it: one Markdown table, a row for each fault, on the terminal, in a file, and in README.

import { table } from '../../bench/report.ts'
import type { Outcome } from './run.ts'

export interface ChaosResult {
  readonly command: string
  readonly date: string
  readonly machine: string
  readonly node: string
  readonly seed: number
  /** Cases that nodes of this version can't be put to. */
  readonly left: readonly string[]
  readonly outcomes: readonly Outcome[]
}

const HEADER = [
  'fault',
  'published',
  'acknowledged',
  'refused at first',
  'connections ended',
  'delivered',
  'repeated',
  'reordered',
  'lost silently',
  'told as gap',
  'gaps told',
]

function rowOf({ title, verdict, refused, ends }: Outcome): string[] {
  const { published, acknowledged, delivered, repeated, reordered, lost, gapped, gaps } = verdict
  const figures = [published, acknowledged, refused, ends, delivered, repeated, reordered, lost, gapped, gaps]
  return [title, ...figures.map(figure => figure.toLocaleString('en'))]
}

export function markdown({ command, date, machine, node, seed, left, outcomes }: ChaosResult): string {
  const passed = outcomes.filter(({ wrong }) => wrong.length === 0).length
  const told = outcomes.flatMap(({ title, wrong, notes }) => [
    ...notes.map(note => `- ${title}: ${note}`),
    ...wrong.map(each => `- **${title}: ${each}**`),
  ])
  return [
    `\`${command}\` (seed ${seed}) on ${machine}, Node ${node}, ${date.slice(0, 10)}: ` +
      `${passed} of ${outcomes.length} passed.`,
    table(HEADER, outcomes.map(rowOf)),
    ...(left.length > 0 ? [`Left out: ${left.join(', ')}.`] : []),
    ...(told.length > 0 ? [told.join('\n')] : []),
  ].join('\n\n')
}
