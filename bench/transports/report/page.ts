// report.html: one self-contained file for a browser, on a phone, in the light or the dark theme.

import type { TransportsResult } from '../result.ts'
import { chooserTable } from './chooser.ts'
import { about, CAVEATS, METHOD, RULES } from './method.ts'
import type { Plot } from './drawing.ts'
import { plots } from './plots.ts'
import { STYLE } from './style.ts'
import { type Table, tables } from './tables.ts'
import { type Verdict, verdicts } from './verdicts.ts'

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}
const escaped = (text: string) => text.replace(/[&<>"']/g, sign => ENTITIES[sign] ?? '')
const list = (items: readonly string[]) =>
  `<ul>${items.map(item => `<li>${escaped(item)}</li>`).join('')}</ul>`

export async function html(result: TransportsResult): Promise<string> {
  const choices = chooserTable(result)
  const parts: readonly (readonly [string, string, string])[] = [
    [
      'choose',
      choices.title,
      choices.rows.length > 0 ? tableHtml(choices, 'choice') : '<p>Too little was measured to choose.</p>',
    ],
    ['plots', 'What it looks like', (await plots(result)).map(figure).join('\n')],
    ['claims', 'What is claimed, and what was measured', `${claims(verdicts(result))}${paragraphs(RULES)}`],
    [
      'tables',
      'All that was measured',
      tables(result, true)
        .map(each => `<h3>${escaped(each.title)}</h3>${tableHtml(each)}`)
        .join('\n'),
    ],
    ['method', 'How it is measured', list(METHOD)],
    ['caveats', 'What to beware of', list(CAVEATS)],
  ]
  const title = 'What each transport costs'
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>fanwire: ${escaped(title.toLowerCase())}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>${escaped(title)}</h1>
<p class="about${result.quick ? ' trial' : ''}">${escaped(about(result))}</p>
<nav aria-label="Contents">${parts.map(([id, name]) => `<a href="#${id}">${escaped(name)}</a>`).join('\n')}</nav>
${parts.map(([id, name, body]) => `<section aria-labelledby="${id}"><h2 id="${id}">${escaped(name)}</h2>${id === 'plots' ? `<div class="plots">${body}</div>` : body}</section>`).join('\n')}
</main>
</body>
</html>
`
}

const paragraphs = (texts: readonly string[]) => texts.map(text => `<p>${escaped(text)}</p>`).join('')

/** Vega's drawing has no accessible name. */
function figure({ title, about, svg }: Plot): string {
  const named = svg.replace('<svg ', `<svg role="img" aria-label="${escaped(`${title}. ${about}`)}" `)
  return (
    `<figure><figcaption><h3>${escaped(title)}</h3><p>${escaped(about)}</p></figcaption>` +
    `<div class="scroll" tabindex="0" role="group" aria-label="${escaped(title)}">${named}</div></figure>`
  )
}

function claims(all: readonly Verdict[]): string {
  const items = all.map(({ technique, claim, verdict, figures }) => {
    const look = verdict === 'supported' || verdict === 'refuted' ? verdict : 'open'
    const measured =
      figures.length > 0 ? `<details><summary>the figures</summary>${list(figures)}</details>` : ''
    return `<li><h3><span class="word ${look}">${verdict}</span> ${escaped(technique)}: “${escaped(claim)}”</h3>${measured}</li>`
  })
  return `<ul class="claims">${items.join('\n')}</ul>`
}

function tableHtml({ title, header, rows, text }: Table, kind = ''): string {
  const words = (i: number) => (text.includes(i) ? ' class="words"' : ' class="number"')
  const head = header.map((name, i) => `<th scope="col"${words(i)}>${escaped(name)}</th>`).join('')
  const body = rows.map(({ cells }, row) => {
    const set = cells.map((cell, i) =>
      i === 0
        ? `<th scope="row"${words(i)}>${escaped(cell)}</th>`
        : `<td${words(i)}>${escaped(cell).replaceAll('; ', '<br>')}</td>`,
    )
    // A line separates rows whose events/s or clients differ.
    const changes = row > 0 && text.includes(0) && cells[1] !== rows[row - 1]?.cells[1]
    return `<tr${changes ? ' class="first"' : ''}>${set.join('')}</tr>`
  })
  const marks = rows.flatMap(row => row.marks).map(mark => `<li>${escaped(mark)}</li>`)
  return (
    `<div class="table ${kind}" tabindex="0" role="region" aria-label="${escaped(title)}"><table><thead><tr>${head}</tr></thead><tbody>${body.join('\n')}</tbody></table></div>` +
    (marks.length > 0 ? `<ul class="marks">${marks.join('')}</ul>` : '')
  )
}
