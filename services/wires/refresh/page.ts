// The HTML of the refresh wire. Events contain client input: every text is escaped, and nothing may run.

import { createHash } from 'node:crypto'
import { ANSWER_BYTES } from '../../broker/fanout/collect.ts'
import { type News, shownOf } from '../../broker/fanout/newest.ts'
import { dataOf, type LogEvent } from '../../broker/event/event.ts'
import { type Member, members, trimmed } from '../../broker/event/json-spans.ts'
import { printPosition } from '../../broker/event/position.ts'

/** The maximum characters of a value on the page, which links to the whole event. */
const SHOWN = 4000
/** The maximum members of an object that are shown in rows. */
const ROWS = 24

const STYLE = `
:root { color-scheme: light dark; --text: #1c2024; --dim: #62686e; --back: #f6f7f8; --card: #fff; --line: #dfe3e6;
  --new: #0b6e4f; --gap: #8a4b00; --wash: #eef6f2 }
@media (prefers-color-scheme: dark) { :root { --text: #e6e8ea; --dim: #9aa1a8; --back: #15181b; --card: #1d2125;
  --line: #33393f; --new: #5fd3a5; --gap: #f0b266; --wash: #1b2a25 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.25rem 1rem 3rem; max-width: 52rem; background: var(--back); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif }
header { margin-bottom: 1rem }
h1 { margin: 0; font-size: 1.35rem; line-height: 1.3; overflow-wrap: anywhere }
header p { margin: .15rem 0 0; color: var(--dim); font-size: .875rem }
ol { list-style: none; margin: 0; padding: 0; display: grid; gap: .6rem; grid-template-columns: minmax(0, 1fr) }
li { padding: .7rem .9rem; background: var(--card); border: 1px solid var(--line); border-left: 4px solid var(--line);
  border-radius: .4rem; overflow-wrap: anywhere }
li.new { border-left-color: var(--new); background: var(--wash) }
.about { display: flex; flex-wrap: wrap; gap: .1rem .75rem; color: var(--dim); font-size: .8125rem }
.about a { color: inherit }
.about b, header b { color: var(--new) }
.about i { font-style: normal; color: var(--text); font-weight: 600 }
.data { margin: .3rem 0 0; font: inherit; white-space: pre-wrap; unicode-bidi: plaintext }
.json { font: .875rem/1.5 ui-monospace, monospace; unicode-bidi: isolate }
dl { margin: .3rem 0 0; display: grid; grid-template-columns: fit-content(35%) minmax(0, 1fr); gap: .1rem .75rem;
  align-items: baseline }
dt { color: var(--dim) }
dd { margin: 0 }
dd .data { margin: 0 }
.gap { border-left-color: var(--gap); color: var(--gap); font-size: .875rem }
.none { color: var(--dim) }
`

/** Allows only the style above: no scripts, and no other origins. */
export const CONTENT_POLICY =
  `default-src 'none'; style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'; ` +
  `base-uri 'none'; form-action 'none'`

export interface View {
  readonly channels: readonly string[]
  /** One for each channel. */
  readonly news: readonly News[]
  /** The maximum events on the page, over all channels. */
  readonly limit: number
  /** Seconds until it reloads. */
  readonly every: number
  /** The URL to which it reloads, relative to its own. */
  readonly next: string
}

/** Renders a page. The same view always gives the same bytes. */
export function renderPage({ channels, news, limit, every, next }: View): string {
  const shown = shownOf(news, { events: limit, bytes: ANSWER_BYTES })
    .map(({ event, channel }) => ({
      event,
      channel: channels[channel] as string,
      isNew: event.offset > (news[channel]?.since ?? 0),
    }))
    .reverse()
  const fresh = news.reduce((sum, each) => sum + each.fresh, 0)
  const unseen = fresh - shown.filter(({ isNew }) => isNew).length
  const count = (n: number, more = '') => `${n.toLocaleString('en')}${more} event${n === 1 ? '' : 's'}`
  const title = escape(channels.join(', '))
  const rows = [
    ...news.flatMap(({ gaps }, i) =>
      gaps.map(
        ({ from, to }) =>
          `<li class="gap">${escape(channels[i] as string)}: events after ${printPosition(from)}, up to ` +
          `${printPosition(to)}, may be lost</li>`,
      ),
    ),
    ...shown.map(each => row(each, channels.length > 1)),
    ...(unseen > 0
      ? [`<li class="none">and ${count(unseen, ' more')} since the last look, not shown</li>`]
      : []),
    ...(shown.length === 0 ? ['<li class="none">no events yet</li>'] : []),
  ]
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="${every}; url=${escape(next)}">
<title>${fresh > 0 ? `(${fresh.toLocaleString('en')}) ` : ''}${title}</title>
<style>${STYLE}</style>
</head>
<body>
<header>
<h1>${title}</h1>
<p>${fresh > 0 ? `<b>${fresh.toLocaleString('en')} new</b> · ` : ''}newest first · reloads every ${every} s</p>
</header>
<ol>
${rows.join('\n')}
</ol>
</body>
</html>
`
}

function row(
  { event, channel, isNew }: { event: LogEvent; channel: string; isNew: boolean },
  several: boolean,
): string {
  const id = printPosition(event)
  if (event.kind === 'end') return `<li class="none">${escape(channel)} has ended (${id})</li>`
  const time = new Date(event.time).toISOString()
  const about = [
    ...(isNew ? ['<b>new</b>'] : []),
    ...(event.type === undefined ? [] : [`<i>${escape(event.type)}</i>`]),
    ...Array.from(event.tags ?? [], ([name, value]) => `<span>${escape(name)}: ${escape(value)}</span>`),
    ...(event.skipped === undefined ? [] : [`<span>${event.skipped} older</span>`]),
    ...(several ? [`<span>${escape(channel)}</span>`] : []),
    `<time datetime="${time}">${time.slice(0, 10)} ${time.slice(11, 19)} UTC</time>`,
    `<a href="channels/${encodeURIComponent(channel)}/events/${id}">${id}</a>`,
  ]
  return `<li${isNew ? ' class="new"' : ''}><div class="about">${about.join('')}</div>${dataRow(event)}</li>`
}

/** An event's data as HTML: text as text, an object with one member per row, anything else as JSON. */
function dataRow(event: LogEvent): string {
  const data = trimmed(dataOf(event))
  if (event.encoding !== undefined) {
    const bytes = Buffer.byteLength(JSON.parse(data.toString()), 'base64')
    return `<div class="data">${bytes.toLocaleString('en')} bytes: ${value(data)}</div>`
  }
  const rows = data[0] === 0x7b ? [...members(data)] : []
  if (rows.length === 0 || rows.length > ROWS) return value(data)
  const row = ({ name, start, end }: Member) =>
    `<dt>${escape(name)}</dt><dd>${value(data.subarray(start, end))}</dd>`
  return `<dl>${rows.map(row).join('')}</dl>`
}

function value(json: Buffer): string {
  const text = json.toString()
  const isText = text.startsWith('"')
  return `<div class="data${isText ? '' : ' json'}">${escape(shorten(isText ? JSON.parse(text) : text))}</div>`
}

function shorten(text: string): string {
  return text.length > SHOWN
    ? `${text.slice(0, SHOWN)}… (${text.length.toLocaleString('en')} characters)`
    : text
}

function escape(text: string): string {
  return text.replace(/[&<>"']/g, found => `&#${found.charCodeAt(0)};`)
}
