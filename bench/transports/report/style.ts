// The style of the page: one set of colours for a light background, one for a dark one. Colours after Okabe and Ito,
// which people with colour blindness can distinguish, made darker or lighter until they contrast with the background.

export const STYLE = `
:root {
  color-scheme: light dark;
  --paper: #fff; --text: #1b1f24; --quiet: #57606a; --line: #d5dae0; --grid: #e8ebef; --panel: #f6f8fa; --link: #0550ae;
  --poll: #965f00; --long-poll: #0a74aa; --sse: #00795a; --stream: #736a00; --ws: #4338b8; --refresh: #c04a00;
  --push: #555b63; --socket-io: #b0447f; --good: #00694e; --bad: #a63f00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #0f1318; --text: #e8ecf0; --quiet: #9da7b1; --line: #343c46; --grid: #242b33; --panel: #171d24; --link: #7cb7ff;
    --poll: #f0ad2e; --long-poll: #62c1f2; --sse: #22c298; --stream: #f0e442; --ws: #a596ff; --refresh: #ff8344;
    --push: #b4bcc6; --socket-io: #e391bd; --good: #2fcf9f; --bad: #ff9257;
  }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--text); font: 16px/1.55 system-ui, sans-serif }
main { max-width: 1240px; margin: 0 auto; padding: 1.5rem 1rem 4rem }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 .5rem }
h2 { font-size: 1.3rem; margin: 3rem 0 .75rem }
h3 { font-size: 1.05rem; margin: 2rem 0 .5rem }
p, ul { max-width: 78ch }
.about, .marks, figcaption p { color: var(--quiet) }
.trial { border-left: 4px solid var(--bad); padding-left: .75rem }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem }
a { color: var(--link) }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 520px), 1fr)); gap: 1rem }
figure { margin: 0; padding: 1rem; background: var(--panel); border: 1px solid var(--line); border-radius: 8px; min-width: 0 }
figcaption h3 { margin: 0 }
figcaption p { margin: 0 0 .75rem; font-size: .9rem }
.scroll { overflow-x: auto }
.scroll:focus-visible { outline: 2px solid var(--link) }
svg { display: block; width: 100%; height: auto; min-width: 330px; max-width: 590px; color: var(--text) }
.table { overflow: auto; max-height: 80vh; border: 1px solid var(--line); border-radius: 8px }
table { border-collapse: separate; border-spacing: 0; font-size: .875rem; font-variant-numeric: tabular-nums; width: 100% }
th, td { padding: .35rem .6rem; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; white-space: nowrap }
th { background: var(--panel); font-weight: 600 }
thead th { position: sticky; top: 0; z-index: 2; white-space: normal; vertical-align: bottom }
tbody th { position: sticky; left: 0; z-index: 1 }
thead th:first-child { left: 0; z-index: 3 }
tbody tr:last-child > * { border-bottom: 0 }
.words { text-align: left }
.first > * { border-top: 2px solid var(--line) }
.choice td { white-space: normal; min-width: 11rem }
.choice td.number { min-width: 0 }
.marks { font-size: .875rem; padding-left: 1.2rem }
.claims { display: grid; gap: .75rem; padding: 0; list-style: none; max-width: none }
.claims > li { border: 1px solid var(--line); border-radius: 8px; padding: .75rem 1rem; min-width: 0 }
.claims h3 { margin: 0; font-weight: 400 }
.claims details { margin-top: .35rem }
.claims ul { margin: .35rem 0; padding-left: 1.2rem; max-width: none; font-size: .9rem }
summary { cursor: pointer; color: var(--quiet) }
.word { display: inline-block; min-width: 8.5em; font-weight: 700 }
.word::before { display: inline-block; width: 1.4em }
.supported { color: var(--good) } .supported::before { content: '✓' }
.refuted { color: var(--bad) } .refuted::before { content: '✗' }
.open { color: var(--quiet) } .open::before { content: '?' }
@media (max-width: 600px) { main { padding: 1rem .75rem 3rem } figure { padding: .75rem .5rem } figcaption { padding: 0 .35rem } }
code { font-size: .9em; overflow-wrap: anywhere }
@media print { .table { max-height: none } }
`
