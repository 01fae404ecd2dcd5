// The client is small and has no dependencies.

import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { build, type Metafile } from 'esbuild'
import t from 'tap'

const CLIENT = join(import.meta.dirname, '../../../client')

async function bundle(file: string): Promise<{ bytes: number; meta: Metafile }> {
  const { outputFiles, metafile } = await build({
    entryPoints: [join(CLIENT, file)],
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    external: ['react', 'vue'],
    write: false,
    metafile: true,
  })
  const [output] = outputFiles
  return { bytes: gzipSync(output?.contents ?? '', { level: 9 }).length, meta: metafile }
}

t.test('the whole client is at most 10 KiB gzipped, the hooks 2 KiB more', async t => {
  for (const [file, most] of [
    ['index.ts', 10 * 1024],
    ['react.ts', 2 * 1024],
    ['vue.ts', 2 * 1024],
  ] as const) {
    const { bytes, meta } = await bundle(file)
    t.comment(`${file}: ${bytes} bytes`)
    t.ok(bytes <= most, `${file}: ${bytes} bytes of ${most}`)
    const outside = Object.keys(meta.inputs).filter(path => !/(^|\/)client\//.test(path))
    t.strictSame(outside, [])
  }
})
