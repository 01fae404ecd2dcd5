// Reads the code blocks of the documents, with the flags that say how a test runs each.
//
// The words after the language say how a test runs the block. Without any, it runs to its end and must succeed:
//   serves            starts a server for the page's other blocks, and keeps running
//   follows="text"    keeps running, and must print the text before the page ends
//   browser           runs in a browser
//   bench             is a load test of the page's node
//   h2c               needs a node that also listens for cleartext HTTP/2
//   certificate       finds cert.pem and key.pem in its folder
//   no-run="reason"   is not run; its syntax is checked

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../../bench/files.ts'

export interface Block {
  /** Path from the root of the repository. */
  readonly file: string
  readonly line: number
  readonly language: string
  readonly flags: ReadonlyMap<string, string>
  readonly text: string
}

const FENCE = /^( *)(`{3,})(\S*)([^\n]*)\n(.*?)^\1\2$/gms
const FLAG = /([a-z][a-z0-9-]*)(?:="([^"]*)")?/g
/** Languages of executable blocks: each is run or states why not. */
const EXECUTABLE = new Set(['sh', 'js', 'python', 'go', 'html'])
const FLAGS = new Set(['serves', 'follows', 'browser', 'bench', 'certificate', 'h2c', 'no-run'])

export function blocksOf(file: string, markdown = readFileSync(join(ROOT, file), 'utf8')): Block[] {
  return [...markdown.matchAll(FENCE)].map(found => {
    const [, indent = '', , language = '', info = '', text = ''] = found
    const flags = new Map<string, string>()
    for (const [, name = '', value = ''] of info.replaceAll(/\[[^\]]*\]/g, '').matchAll(FLAG))
      flags.set(name, value)
    const before = markdown.slice(0, found.index)
    // README marks two commands for other tools: test/package.test.ts and .ci/run run them.
    if (/<!-- (start|test) command -->\n$/.test(before)) flags.set('no-run', 'has a separate test')
    const line = before.split('\n').length
    const lines = text.split('\n').map(each => (each.startsWith(indent) ? each.slice(indent.length) : each))
    return { file, line, language, flags, text: lines.join('\n') }
  })
}

export const isExecutable = ({ language }: Block) => EXECUTABLE.has(language)
export const isRun = (block: Block) => isExecutable(block) && !block.flags.has('no-run')
export const unknownFlags = ({ flags }: Block) => [...flags.keys()].filter(name => !FLAGS.has(name))
export const placeOf = ({ file, line }: Block) => `${file}:${line}`

/** The path of every document, from the root of the repository. */
export function documents(): string[] {
  const under = (folder: string) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map(path => join(folder, path))
  const beside = readdirSync(ROOT)
  return [...beside, ...under('docs'), ...under('examples'), 'bench/README.md'].filter(
    path => path.endsWith('.md') && !/node_modules|\.vitepress/.test(path),
  )
}

/** The anchors that GitHub makes from a document's headings. */
export function anchorsOf(path: string): string[] {
  return [...readFileSync(join(ROOT, path), 'utf8').matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}
