// The reports of the transports' bench have the right choices and verdicts, and are well-formed even with missing data.

import t from 'tap'
import type { CellResult, TransportsResult } from '../../../bench/transports/result.ts'
import { chooser, chooserTable } from '../../../bench/transports/report/chooser.ts'
import { crossings, describe } from '../../../bench/transports/report/crossing.ts'
import { settle, verdicts } from '../../../bench/transports/report/verdicts.ts'
import { html } from '../../../bench/transports/report/page.ts'
import { spread } from '../../../bench/transports/report/line-plot.ts'
import { compareCosts, compareDelay, sound } from '../../../bench/transports/report/select.ts'
import { STYLE } from '../../../bench/transports/report/style.ts'
import { tables } from '../../../bench/transports/report/tables.ts'
import { markdown, readme, terminal } from '../../../bench/transports/report/text.ts'
import { LINES, synthetic } from './transports-result.ts'

type Change = (cell: CellResult) => Partial<CellResult>

const only =
  (wire: string, change: Change): Change =>
  cell =>
    cell.line.wire === wire ? change(cell) : {}
const empty: TransportsResult = { ...synthetic(), cells: [] }

function verdictOn(claim: string, result: TransportsResult): string | undefined {
  return verdicts(result).find(each => each.claim.startsWith(claim))?.verdict
}

/** The rows of Markdown tables whose number of columns differs from that of the header row. */
function badRows(text: string): string[] {
  let columns = 0
  return text.split('\n').filter(line => {
    if (!line.startsWith('|')) {
      columns = 0
      return false
    }
    const own = line.replaceAll('\\|', '').split('|').length
    if (columns === 0) columns = own
    return own !== columns
  })
}

t.test('tables are well-formed', async t => {
  const result = synthetic()
  for (const text of [terminal(result), markdown(result), readme(result)]) t.same(badRows(text), [])
  for (const long of [true, false]) {
    for (const { title, header, rows } of tables(result, long)) {
      t.ok(rows.length > 0, title)
      t.ok(
        rows.every(({ cells }) => cells.length === header.length),
        title,
      )
    }
  }
  const own = new Set(tables(result, false).flatMap(({ rows }) => rows.flatMap(({ marks }) => marks)))
  const isTable = (line: string) => /\d$/.test(line) && !own.has(line.trim())
  const wide = terminal(result)
    .split('\n')
    .filter(line => isTable(line) && line.length > 160)
  t.same(wide, [], 'the tables fit a terminal of 160 columns')
})

t.test('each cell is in the tables, with its problems', async t => {
  const result = synthetic(only('ws', () => ({ errors: { ECONNRESET: 1234 }, notes: ['a note on ws'] })))
  const rows = tables(result, true).flatMap(each => each.rows)
  t.equal(rows.length, result.cells.length)
  for (const text of [terminal(result), markdown(result), await html(result)]) {
    t.match(text, /1,234 × ECONNRESET/)
    t.match(text, /a note on ws/)
    t.match(
      text,
      /long-poll, 100\/s: \(!\) asked for more than the server can; it came to 9,000 deliveries\/s/,
    )
  }
})

t.test('missing figures leave no undefined or NaN in the reports', async t => {
  const bare = synthetic(cell => {
    const { latency, cpuPerDelivery, cpuPerEvent, residentPerClient, bytesInPerDelivery, ...rest } = cell
    return { ...rest, latencies: [], samples: [] }
  })
  const stripped = {
    ...bare,
    cells: bare.cells.map(
      ({
        latency,
        cpuPerDelivery,
        cpuPerEvent,
        residentPerClient,
        bytesInPerDelivery,
        emptyShare,
        ...rest
      }) => rest,
    ),
  }
  const [first] = synthetic().cells
  const one = { ...empty, cells: first === undefined ? [] : [first] }
  for (const result of [stripped, one, empty]) {
    const page = await html(result)
    for (const text of [terminal(result), markdown(result), readme(result), page]) {
      t.notMatch(text, /undefined|NaN|Infinity|\[object/)
    }
    t.notMatch(page, /\bnull\b/)
  }
  t.ok(verdicts(empty).every(({ verdict }) => verdict === 'not measured'))
})

t.test('the page loads nothing and allows nothing to load', async t => {
  const evil = `<script>alert("1")</script> & 'x' | y`
  const result = { ...synthetic(() => ({ notes: [evil] })), machine: evil }
  const page = await html(result)
  t.notMatch(page, /<script/i)
  t.match(page, /&lt;script&gt;alert\(&quot;1&quot;\)/)
  t.match(page, /default-src 'none'/)
  t.notMatch(page, /(src|href|action|data)\s*=\s*["']?\s*(https?:)?\/\//i)
  t.notMatch(page, /url\((?!#)|@import|<link|<img|<iframe|<object/i)
  const used = [...page.matchAll(/\bhttps?:\/\/[^\s"'<)]*/g)].map(([url]) => url)
  t.ok(
    used.every(url => url.startsWith('http://www.w3.org/')),
    'the only URLs are namespaces of SVG',
  )
  t.same(badRows(markdown(result)), [], 'a `|` in a cell does not end its column')
  t.notMatch(markdown(result), /<script/)
})

t.test('the page has 7 named plots, and every CSS variable is set for light and for dark', async t => {
  const page = await html(synthetic())
  const named = [...page.matchAll(/<svg role="img" aria-label="([^"]+)"/g)].map(([, name]) => name ?? '')
  t.equal(named.length, 7)
  t.equal(new Set(named).size, 7)
  for (const { name } of LINES) t.match(page, new RegExp(`>${name}</text>`), 'each line is named in a plot')
  const asked = new Set([...page.matchAll(/var\((--[a-z-]+)\)/g)].map(([, name]) => name ?? ''))
  for (const name of asked) t.equal(STYLE.split(`${name}:`).length - 1, 2, `${name} for light and for dark`)
})

t.test('colours have enough contrast as text, in the light and the dark theme', async t => {
  const themes = STYLE.split('@media (prefers-color-scheme: dark)')
  for (const theme of themes.slice(0, 2)) {
    const block = theme.slice(0, theme.indexOf('* {') === -1 ? undefined : theme.indexOf('* {'))
    const colours = new Map(
      [...block.matchAll(/--([a-z-]+): (#[0-9a-f]+)/g)].map(([, name = '', hex = '']) => [name, hex]),
    )
    const panel = colours.get('panel') ?? ''
    for (const [name, hex] of colours) {
      if (['paper', 'panel', 'line', 'grid'].includes(name)) continue
      t.ok(contrast(hex, panel) >= 4.5, `${name} ${hex} on ${panel}: ${contrast(hex, panel).toFixed(2)}`)
    }
  }
})

/** WCAG 2: relative luminance, contrast ratio. */
function contrast(a: string, b: string): number {
  const light = (hex: string) => {
    const six = hex.length === 4 ? hex.replace(/[0-9a-f]/g, '$&$&') : hex
    const [r = 0, g = 0, b = 0] = [1, 3, 5].map(i => {
      const part = Number.parseInt(six.slice(i, i + 2), 16) / 255
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
    })
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const [one = 0, other = 0] = [light(a), light(b)].sort((x, y) => y - x)
  return (one + 0.05) / (other + 0.05)
}

t.test('labels at line ends are separated, in order and inside the plot', async t => {
  for (const ends of [[0.5, 0.5, 0.5], [0, 0, 1, 1], [0.1, 0.12, 0.5, 0.11, 0.52], [0.97, 0.99, 0.98], []]) {
    const places = spread(ends, 0.05)
    t.equal(places.length, ends.length)
    const order = ends.map((end, i) => ({ end, place: places[i] ?? -1 })).sort((a, b) => a.place - b.place)
    order.forEach(({ end, place }, i) => {
      t.ok(place >= -1e-9 && place <= 1 + 1e-9)
      const above = order[i + 1]
      if (above === undefined) return
      t.ok(above.place - place >= 0.05 - 1e-9)
      t.ok(above.end >= end)
    })
  }
  t.same(spread([0.2, 0.8], 0.05), [0.2, 0.8], 'labels with room stay in place')
})

t.test('the chooser', async t => {
  const at = (result: TransportsResult, clients: number, rate: number) =>
    chooser(result).find(choice => choice.clients === clients && choice.rate === rate)
  const main = at(synthetic(), 1000, 1)

  t.test('names the cheapest, and those of about the same cost', async t => {
    t.same(main?.cpu?.names, ['ws', 'stream', 'sse'])
    t.same(main?.bytes?.names, ['ws', 'stream'])
    const cheap = at(synthetic(only('sse', () => ({ cpuPerClient: 1 }))), 1000, 1)
    t.same(cheap?.cpu, { names: ['sse'], value: 1 })
  })
  t.test('names the fastest, and those indistinguishable from it', async t => {
    t.same(
      main?.fastest?.names,
      ['ws', 'stream', 'sse', 'socket.io'].filter(name => main?.fastest?.names.includes(name)),
    )
    const slow = { p50: 90, p95: 90, p99: 90, max: 90 }
    const others = at(
      synthetic(cell => (cell.latency && cell.line.wire !== 'stream' ? { latency: slow } : {})),
      1000,
      1,
    )
    t.same(others?.fastest?.names, ['stream'])
  })
  t.test('a slow wire may be the cheapest, but not among the prompt ones', async t => {
    const frequent = at(synthetic(), 1000, 100)
    t.same(frequent?.cpu?.names, ['poll every 5 s'])
    t.same(frequent?.promptCpu?.names, ['ws', 'stream', 'sse'])
  })
  t.test('shows the cost of short polling at that point', async t => {
    const poll = main?.polling.find(({ name }) => name === 'poll every 1 s')
    t.ok(poll?.cpuTimes !== undefined && poll.cpuTimes > 10 && poll.cpuTimes < 12)
    t.match(
      chooserTable(synthetic())
        .rows.map(({ cells }) => cells.join())
        .join('\n'),
      /every 1 s: 10\.9 × CPU, 3\.77 × bytes, p50 503 ms/,
    )
  })
  t.test('ignores saturated cells and cells with lost events', async t => {
    const saturated = { by: 'server', ceiling: 1 } as const
    const full = at(synthetic(only('ws', () => ({ saturated }))), 1000, 1)
    t.same(full?.cpu?.names, ['stream', 'sse'])
    t.ok(full?.saturated.includes('ws'))
    const lossy = at(synthetic(only('ws', ({ expected }) => ({ missing: expected / 100 }))), 1000, 1)
    t.same(lossy?.cpu?.names, ['stream', 'sse'])
  })
  t.test('shows nothing where only one wire was measured', async t => {
    t.same(chooser({ ...empty, cells: synthetic().cells.filter(({ line }) => line.wire === 'ws') }), [])
  })
})

t.test('costs and delays within a tolerance are equal, and a saturated cell is not sound', async t => {
  t.equal(compareCosts(100, 109), 0)
  t.equal(compareCosts(100, 111), -1)
  t.equal(compareCosts(111, 100), 1)
  t.equal(compareCosts(0, 0), 0)
  t.equal(compareDelay('p99', 3, 4.9), 0, 'within 2 ms')
  t.equal(compareDelay('p99', 100, 124), 0, 'within a quarter')
  t.equal(compareDelay('p99', 100, 126), -1)
  const [cell] = synthetic().cells
  if (cell === undefined) return
  t.ok(sound(cell))
  t.notOk(sound({ ...cell, saturated: { by: 'machine', ceiling: 1 } }))
})

t.test('crossings', async t => {
  t.test('are interpolated on logarithmic scales', async t => {
    const points = [
      { rate: 1, a: 10, b: 100 },
      { rate: 100, a: 1000, b: 100 },
    ]
    const [found, ...more] = crossings(points)
    t.same(more, [])
    t.equal(found?.to, 'dearer')
    t.ok(Math.abs((found?.near ?? 0) - 10) < 1e-9)
    t.match(describe(points), 'dearer from 10 events/s on (interpolated between 1 and 100)')
  })
  t.test('are interpolated on linear scales next to a rate of 0', async t => {
    const [found] = crossings([
      { rate: 0, a: 0, b: 50 },
      { rate: 1, a: 100, b: 50 },
    ])
    t.equal(found?.near, 0.5)
  })
  t.test('are not interpolated on logarithmic scales where a cost is 0', async t => {
    const points = [
      { rate: 1, a: 0, b: 5 },
      { rate: 10, a: 9, b: 5 },
    ]
    t.equal(crossings(points)[0]?.near, undefined)
    t.match(describe(points), 'dearer from somewhere between 1 and 10 events/s on')
  })
  t.test('may be missing or several', async t => {
    t.match(
      describe([
        { rate: 1, a: 2, b: 1 },
        { rate: 10, a: 2, b: 1 },
      ]),
      'dearer from 1 to 10 events/s',
    )
    t.match(describe([{ rate: 1, a: 1, b: 2 }]), 'not dearer at 1 events/s')
    t.match(describe([]), 'not measured together')
    const there = [1, 3, 1].map((a, i) => ({ rate: 10 ** i, a, b: 2 }))
    t.same(
      crossings(there).map(({ to }) => to),
      ['dearer', 'cheaper'],
    )
  })
})

t.test('a verdict needs evidence', async t => {
  t.equal(settle([]), 'not measured')
  t.equal(settle(['tie']), 'not settled')
  t.equal(settle(['for', 'tie']), 'supported')
  t.equal(settle(['against', 'tie']), 'refuted')
  t.equal(settle(['against', 'for']), 'not settled')
})

t.test('every claim can be supported and refuted by measurements', async t => {
  const cheap = () => ({ cpuPerClient: 0.01, bytesInPerClient: 0.01, bytesOutPerClient: 0 })
  const dear = () => ({ cpuPerClient: 9e5, bytesInPerClient: 9e6, bytesOutPerClient: 9e6 })
  const delay = (ms: number) => (cell: CellResult) =>
    cell.rate > 0 ? { latency: { p50: ms, p95: ms, p99: ms, max: ms } } : {}
  const fine = (change: Change = () => ({})): TransportsResult => {
    const result = synthetic(cell => ({ ...change(cell) }))
    // No cell is saturated, so that all of them count.
    return { ...result, cells: result.cells.map(({ saturated, ...rest }) => rest) }
  }
  const low =
    (change: Change): Change =>
    cell =>
      cell.line.wire === 'long-poll' && cell.line.priority === 'low' && cell.rate > 1 ? change(cell) : {}
  const long =
    (change: Change): Change =>
    cell =>
      cell.line.wire === 'long-poll' && cell.line.priority === 'high' ? change(cell) : {}

  const cases: readonly (readonly [string, TransportsResult, TransportsResult])[] = [
    ['loads both sides', fine(only('refresh', dear)), fine(only('refresh', cheap))],
    [
      'waste when nothing happened',
      fine(only('poll', dear)),
      fine(cell => (cell.line.wire === 'poll' ? cheap() : dear())),
    ],
    ['steady', fine(), fine(only('poll', ({ rate }) => ({ cpuPerClient: 100 * rate })))],
    ['natural batching', fine(), fine(only('poll', () => ({ cpuPerDelivery: 80 })))],
    ['close to real time', fine(long(delay(20))), fine(long(delay(900)))],
    ['under frequent events', fine(long(dear)), fine(long(cheap))],
    [
      'tames',
      fine(low(cell => ({ ...cheap(), requestsPerSecond: (cell.requestsPerSecond ?? 0) / 99 }))),
      fine(low(() => ({ ...dear(), requestsPerSecond: 1e9 }))),
    ],
    ['its cost is delay', fine(long(delay(5))), fine(long(delay(5000)))],
    ['good for prices', fine(only('ws', delay(50))), fine(only('ws', delay(0.01)))],
    ['lowest delay', fine(only('ws', delay(0.01))), fine(only('ws', delay(500)))],
    [
      'the usual choice',
      fine(only('socket.io', () => ({ cpuPerDelivery: 1, bytesInPerDelivery: 9, residentPerClient: 1 }))),
      fine(),
    ],
    ['faster delivery', fine(only('push', delay(0.01))), fine(only('push', delay(500)))],
  ]
  for (const [claim, supported, refuted] of cases) {
    t.equal(verdictOn(claim, supported), 'supported', claim)
    t.equal(verdictOn(claim, refuted), 'refuted', claim)
  }
  t.equal(cases.length, verdicts(empty).length, 'every claim is tested')
  t.equal(
    verdictOn(
      'lowest delay',
      fine(cell => delay(5)(cell)),
    ),
    'not settled',
    'equal is not lowest',
  )
})

t.test(
  'saturated cells are no evidence, except that the server could not keep up with long-poll',
  async t => {
    const saturated = { by: 'load generator', ceiling: 1 } as const
    const none = synthetic(() => ({ saturated }))
    for (const { claim, verdict } of verdicts(none)) t.equal(verdict, 'not measured', claim)
    const full = synthetic(only('long-poll', () => ({ saturated: { by: 'server', ceiling: 1 } as const })))
    t.equal(verdictOn('close to real time', full), 'refuted')
    const figures =
      verdicts(synthetic()).find(({ claim }) => claim.startsWith('under frequent'))?.figures ?? []
    t.ok(figures.some(text => text.includes("the server can't keep up with long-poll")))
  },
)
