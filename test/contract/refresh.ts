// The page of the refresh wire, parsed with only its HTML.

export interface RefreshPage {
  /** The query of the URL to which it reloads. */
  readonly again: string
  /** Interval between two reloads, s. */
  readonly every: number
  /** The events' rows, newest first. */
  readonly rows: readonly Row[]
  readonly gaps: readonly { readonly channel: string; readonly from: string; readonly to: string }[]
  /** Events since the last look that it does not show. */
  readonly unseen: number
}

interface Row {
  readonly channel: string
  readonly id: string
  readonly isNew: boolean
  readonly html: string
}

export const unescape = (text: string) =>
  text.replace(/&#(\d+);/g, (_, code) => String.fromCharCode(Number(code)))

export function parsePage(html: string): RefreshPage {
  const meta = unescape(/<meta http-equiv="refresh" content="([^"]*)">/.exec(html)?.[1] ?? '')
  const [, every = '', again = ''] = /^(\d+); url=\?(.*)$/.exec(meta) ?? []
  const items = html.match(/<li[^>]*>.*?<\/li>/gs) ?? []
  return {
    again,
    every: Number(every),
    rows: items.flatMap(html => {
      const [, channel = '', id = ''] = /<a href="channels\/([^"]*)\/events\/([^"]*)"/.exec(html) ?? []
      if (id === '') return []
      return [{ channel: decodeURIComponent(channel), id, isNew: html.startsWith('<li class="new">'), html }]
    }),
    gaps: items.flatMap(html => {
      const match = /^<li class="gap">(.*): events after (\S+), up to (\S+), may be lost<\/li>$/.exec(html)
      const [, channel = '', from = '', to = ''] = match ?? []
      return match === null ? [] : [{ channel: unescape(channel), from, to }]
    }),
    unseen: Number(/<li class="none">and ([\d,]+) more event/.exec(html)?.[1]?.replaceAll(',', '') ?? 0),
  }
}

/** Raises if a row differs from its event. */
export function compare({ html, channel, id }: Row, event: string): void {
  const [, about = '', body = ''] = /^<li[^>]*><div class="about">(.*?)<\/div>(.*)<\/li>$/s.exec(html) ?? []
  const object = JSON.parse(event)
  const said = {
    channel,
    id,
    time: Date.parse(/<time datetime="([^"]*)">/.exec(about)?.[1] ?? ''),
    type: /<i>(.*?)<\/i>/.exec(about)?.[1],
  }
  for (const [name, value] of Object.entries(said)) {
    if (value !== object[name]) throw new Error(`${name} of ${event} is shown as ${value}`)
  }
  const { data, encoding } = object
  const expected =
    encoding === 'base64'
      ? `${Buffer.byteLength(data, 'base64').toLocaleString('en')} bytes: ${data}`
      : typeof data === 'string'
        ? Buffer.from(data).toString()
        : undefined
  const text = unescape(body.replace(/<[^>]*>/g, ''))
  // Long data is shortened, and data that is not text is tested in test/unit/wires/refresh.test.ts.
  if (expected !== undefined && expected.length < 4000 && text !== expected) {
    throw new Error(`the data of ${event} is shown as ${text}`)
  }
}
