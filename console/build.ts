// Bundles the console into dist/console: one script, one style sheet, the page and its icon.

import { copyFile, mkdir } from 'node:fs/promises'
import { build } from 'esbuild'

const HERE = new URL('./', import.meta.url)
const OUT = new URL('../dist/console/', import.meta.url)

await mkdir(OUT, { recursive: true })
await build({
  entryPoints: { console: new URL('src/main.tsx', HERE).pathname },
  outdir: OUT.pathname,
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  jsx: 'automatic',
  jsxImportSource: 'preact',
  legalComments: 'eof',
  logLevel: 'warning',
})
for (const name of ['index.html', 'icon.svg']) await copyFile(new URL(name, HERE), new URL(name, OUT))
