// Formats the result as text for the terminal, report.md and the documents.

import { table } from '../../report.ts'
import type { TransportsResult } from '../result.ts'
import { chooserTable } from './chooser.ts'
import { about, CAVEATS, METHOD, RULES } from './method.ts'
import { LEGEND, type Table, tables } from './tables.ts'
import { verdicts } from './verdicts.ts'

/** Escapes `|`, which would end a cell. */
const escaped = (text: string) =>
  text
    .replaceAll('|', '\\|')
    .replaceAll('<', '&lt;')
    .replace(/\s*\n\s*/g, ' ')
const list = (items: readonly string[]) => items.map(item => `- ${item}`).join('\n')

function plain({ header, rows, text }: Table): string {
  const body = rows.map(({ cells }) => cells)
  return table(header, body, text)
}

function judged(result: TransportsResult): string {
  return verdicts(result)
    .map(({ technique, claim, verdict, figures }) =>
      [`- ${technique}, “${claim}”: **${verdict}**`, ...figures.map(figure => `  - ${escaped(figure)}`)].join(
        '\n',
      ),
    )
    .join('\n')
}

function set(each: Table): string {
  const rows = each.rows.map(({ cells, marks }) => ({ cells: cells.map(escaped), marks: marks.map(escaped) }))
  const marks = rows.flatMap(row => row.marks)
  return [plain({ ...each, rows }), ...(marks.length > 0 ? [list(marks)] : [])].join('\n\n')
}

/** A table without its border lines, which take space. */
const bare = (table: string) =>
  table
    .split('\n')
    .filter(line => !line.startsWith('|-'))
    .map(line => line.slice(2, -2).replaceAll(' | ', '  '))
    .join('\n')

/** The report for a terminal, at most 160 characters wide. Verdicts have no figures. */
export function terminal(result: TransportsResult): string {
  const measured = tables(result, false).map(each => {
    const marks = each.rows.flatMap(row => row.marks)
    return [each.title, bare(plain(each)), ...marks.map(mark => `  ${mark}`)].join('\n')
  })
  const choices = chooserTable(result)
  const claims = verdicts(result).map(
    ({ technique, claim, verdict }) => `  ${verdict.padEnd(12)}  ${technique}: ${claim}`,
  )
  return [
    ...measured,
    LEGEND,
    ...(choices.rows.length > 0 ? [`${choices.title}\n${stacked(choices)}`] : []),
    `Claims\n${claims.join('\n')}`,
    about(result),
  ].join('\n\n')
}

/** Prints a table with long texts as a few short lines per row. */
function stacked({ header, rows }: Table): string {
  return rows
    .map(({ cells: [clients, rate, ...rest] }) => {
      const filled = rest.flatMap((cell, i) =>
        cell === '' ? [] : [`    ${(header[i + 2] ?? '').padEnd(34)}  ${cell}`],
      )
      return [`  ${clients} clients, ${rate} events/s`, ...filled].join('\n')
    })
    .join('\n')
}

/** The text of report.md. */
export function markdown(result: TransportsResult): string {
  const choices = chooserTable(result)
  return [
    '# What each transport costs',
    escaped(about(result)),
    `## ${choices.title}`,
    choices.rows.length > 0 ? set(choices) : 'Too little was measured to choose.',
    '## What is claimed, and what was measured',
    judged(result),
    ...RULES,
    '## All that was measured',
    ...tables(result, true).flatMap(each => [`### ${each.title}`, set(each)]),
    '## How it is measured',
    list(METHOD),
    '## What to beware of',
    list(CAVEATS),
  ].join('\n\n')
}

/** The part shown in the documents. */
export function readme(result: TransportsResult): string {
  const choices = chooserTable(result)
  const { command, ...rest } = result
  return [
    escaped(about({ ...rest, command: `\`${command}\`` })),
    ...(choices.rows.length > 0 ? [set(choices)] : []),
    judged(result),
    RULES[0] ?? '',
  ].join('\n\n')
}
