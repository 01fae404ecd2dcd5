// The report: a Markdown table with one row per attack.

import { table } from '../../bench/report.ts'
import { type Course, mib, round } from './judge.ts'
import type { Outcome } from './run.ts'

export interface AbuseResult {
  readonly command: string
  readonly date: string
  readonly machine: string
  readonly node: string
  /** Duration of each attack, s. */
  readonly seconds: number
  readonly outcomes: readonly Outcome[]
}

const HEADER = [
  'attack',
  'p99 at rest, during, after, ms',
  'memory before, highest, after, MiB',
  'descriptors',
  'readers',
  'Redis, MiB',
  'ready after, s',
  'lost or repeated',
  'goals',
]

export function missed({ slow, wrong }: Outcome): string[] {
  return [...wrong, ...slow]
}

function course({ before, during, after }: Course, print: (value: number) => string): string {
  return [before, during, after].map(value => (Number.isNaN(value) ? '-' : print(value))).join(', ')
}

const whole = (value: number) => value.toLocaleString('en')

function rowOf(outcome: Outcome): string[] {
  const { title, p99, resident, descriptors, readers, redis, ready, verdict } = outcome
  return [
    title,
    course(p99, round),
    course(resident, mib),
    course(descriptors, whole),
    course(readers, whole),
    redis.before === 0 ? '' : course(redis, mib),
    ready === undefined ? '-' : (ready / 1000).toFixed(1),
    whole(verdict.lost + verdict.repeated + verdict.reordered),
    missed(outcome).length === 0 ? 'reached' : '**missed**',
  ]
}

export function markdown({ command, date, machine, node, seconds, outcomes }: AbuseResult): string {
  const reached = outcomes.filter(outcome => missed(outcome).length === 0).length
  const notes = outcomes.map(outcome => {
    const { title, rate, did, refused, ends, turnedAway } = outcome
    const counts = Object.entries(did).map(([what, count]) => `${whole(count)} ${what}`)
    if (refused > 0) counts.push(`${whole(refused)} publishes of the good publisher refused at first`)
    if (ends > 0) counts.push(`${whole(ends)} connections of the good clients cut`)
    if (turnedAway > 0) counts.push(`${whole(turnedAway)} polls of new clients refused`)
    const goals = missed(outcome).map(each => `**${each}**`)
    return `- ${title} (${rate}): ${[...counts, ...goals].join('; ')}`
  })
  return [
    `\`${command}\` on ${machine}, Node ${node}, ${date.slice(0, 10)}, ${seconds} s an attack: ` +
      `${reached} of ${outcomes.length} attacks reached all goals.`,
    table(HEADER, outcomes.map(rowOf)),
    notes.join('\n'),
  ].join('\n\n')
}
