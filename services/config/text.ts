// The texts of `--help` and of the documents about settings.

import { ALL, GROUPS } from './settings.ts'
import { VERSION } from './version.ts'

/** A setting as the documents and `--help` describe it. */
export interface SettingText {
  readonly env: string
  readonly flag: string
  readonly group: string
  /** The default as written; in brackets if it is a description. */
  readonly shown: string
  readonly doc: string
  /** Ends the sentence "expected ...". */
  readonly expects: string
}

/** All settings, in the order of the table. */
export function settingTexts(): SettingText[] {
  return ALL.map(({ env, flag, group, shown, doc, kind }) => ({
    env,
    flag,
    group,
    shown,
    doc,
    expects: kind.expects,
  }))
}

/** The documents' table of settings, in Markdown; each links to its section. */
export function settingsTable(): string {
  const cell = (text: string) => text.replaceAll('|', '\\|')
  const rows = ALL.map(({ env, shown, doc }) => {
    const usual = shown.startsWith('(') ? shown.slice(1, -1) : `\`${shown}\``
    return `| [\`${env}\`](#${env.toLowerCase()}) | ${cell(usual)} | ${cell(doc)} |`
  })
  return ['| setting | default | |', '|---|---|---|', ...rows, ''].join('\n')
}

export function help(): string {
  const lines = [
    `fanwire ${VERSION}: publish once, read on any node over polling, SSE, streaming or WebSocket`,
    '',
    'Usage: fanwire [flags]                     start a node',
    '       fanwire COMMAND [arguments] [--help]',
    '',
    'Commands for a running node:',
    '  publish CHANNEL [DATA|-]    publish an event, or one per line of stdin',
    '  follow CHANNEL…             print events as they arrive',
    '  history CHANNEL             print the newest events',
    '  export, import CHANNEL      copy all events to a file, and back',
    '  channels, presence CHANNEL  list channels, or the members of one',
    '  hooks                       show the progress of webhooks, or replay one',
    '  explain                     show why something is allowed, or was delivered',
    '  bench --url URL             load-test a running deployment',
    'Commands that need no node:',
    '  key, token mint|check       create an API key; create or check a token',
    '  check FILE                  check a rules file',
    '  plan --clients N            estimate the machines for N clients',
    '  completion SHELL            print a completion script',
    '',
    'Examples:',
    '  fanwire                                  one node, events in memory, http://127.0.0.1:8080',
    '  fanwire --redis-url redis://10.0.0.5     any number of nodes on one log',
    '',
    'Every flag is also an environment variable, named beside it; flags win.',
    'Durations: 250ms 10s 5m 24h 7d. Sizes: 1048576 512KiB 64MiB 1GB.',
  ]
  const flags = ALL.map(
    ({ flag, kind }) => `--${flag} ${kind.placeholder.length > 12 ? 'VALUE' : kind.placeholder}`,
  )
  const width = Math.max(...flags.map(each => each.length))
  for (const group of GROUPS) {
    lines.push('', `${group}:`)
    for (const [i, each] of ALL.entries()) {
      if (each.group !== group) continue
      const usual = each.shown.startsWith('(') ? each.shown : `(${each.shown})`
      lines.push(`  ${(flags[i] ?? '').padEnd(width)}  ${each.env} ${usual}`)
      lines.push(`  ${''.padEnd(width)}  ${each.doc.replaceAll('`', '')}`)
    }
  }
  lines.push('', '  -h, --help     this text', '  -v, --version  the version')
  lines.push(
    '',
    'Example: anyone may read, publishing needs the key, and an hour of history is kept:',
    '',
    '  fanwire --host 0.0.0.0 --insecure --publish-key s3cret --history-age 1h',
    "  curl -H 'Authorization: Bearer s3cret' -H 'Content-Type: application/json' -d '{\"hello\":1}' \\",
    '    http://localhost:8080/v1/channels/news/events',
    "  curl -N 'http://localhost:8080/v1/sse?channel=news&cursor=earliest'",
  )
  return lines.join('\n')
}
