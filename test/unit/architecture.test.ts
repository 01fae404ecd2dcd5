// ARCHITECTURE.md#rules: imports only point down, each dependency is known in one place, and a new wire is one folder
// plus one line. The tests read the sources.

import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import t from 'tap'
import ts from 'typescript'

interface Import {
  /** The name of a package or `node:` module, or the path of a file from the root of the repository. */
  readonly of: string
  readonly typeOnly: boolean
}

interface Source {
  /** Path from the root of the repository. */
  readonly path: string
  readonly text: string
  readonly tree: ts.SourceFile
  readonly imports: readonly Import[]
}

const ROOT = join(import.meta.dirname, '../..')
const SOURCES = readdirSync(join(ROOT, 'services'), { recursive: true, encoding: 'utf8' })
  .filter(path => path.endsWith('.ts'))
  .map(path => sourceOf(posix.join('services', path)))

function sourceOf(path: string): Source {
  const text = readFileSync(join(ROOT, path), 'utf8')
  const tree = ts.createSourceFile(path, text, ts.ScriptTarget.ES2023, true)
  return { path, text, tree, imports: importsOf(path, tree) }
}

/** Finds static and dynamic imports, re-exports, and types imported with `import('…')`. */
function importsOf(path: string, tree: ts.SourceFile): Import[] {
  const found: Import[] = []
  const add = (specifier: ts.Node | undefined, typeOnly: boolean) => {
    if (specifier === undefined || !ts.isStringLiteral(specifier))
      throw new Error(`${path}: an import whose specifier is not a literal`)
    const { text } = specifier
    found.push({ of: text.startsWith('.') ? posix.join(dirname(path), text) : text, typeOnly })
  }
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, onlyTypes(node.importClause))
    else if (ts.isExportDeclaration(node) && node.moduleSpecifier) add(node.moduleSpecifier, node.isTypeOnly)
    else if (ts.isImportTypeNode(node))
      add(ts.isLiteralTypeNode(node.argument) ? node.argument.literal : undefined, true)
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      add(node.arguments[0], false)
    }
    ts.forEachChild(node, visit)
  }
  visit(tree)
  return found
}

function onlyTypes(clause: ts.ImportClause | undefined): boolean {
  if (clause === undefined) return false
  if (clause.phaseModifier === ts.SyntaxKind.TypeKeyword) return true
  const { name, namedBindings } = clause
  return (
    name === undefined &&
    namedBindings !== undefined &&
    ts.isNamedImports(namedBindings) &&
    namedBindings.elements.every(element => element.isTypeOnly)
  )
}

/** The part of the node that a file belongs to. */
function partOf(path: string): string {
  const [, part = ''] = path.split('/')
  return part
}

/** The imports of all sources that `holds` does not allow, as text. */
function against(holds: (source: Source, imported: Import) => boolean): string[] {
  return SOURCES.flatMap(source =>
    source.imports.filter(imported => !holds(source, imported)).map(({ of }) => `${source.path} → ${of}`),
  )
}

/** Whether the import is of this package, or of a path in it. */
function isPackage(imported: Import, name: string): boolean {
  return imported.of === name || imported.of.startsWith(`${name}/`)
}

function nodesOf(tree: ts.Node): ts.Node[] {
  const nodes: ts.Node[] = []
  const visit = (node: ts.Node): void => {
    nodes.push(node)
    ts.forEachChild(node, visit)
  }
  visit(tree)
  return nodes
}

t.test('the parser finds imports of every form', async t => {
  const text = `
    import a, { type B } from 'a'
    import type { C } from './c.ts'
    import { type D, type E } from '../d.ts'
    import 'f'
    export { G } from './g.ts'
    export type { H } from './h.ts'
    let i: import('i').I
    await import('./j.ts')`
  const tree = ts.createSourceFile('services/x/y.ts', text, ts.ScriptTarget.ES2023, true)
  t.strictSame(
    importsOf('services/x/y.ts', tree).map(({ of, typeOnly }) => `${of} ${typeOnly ? 'type' : 'value'}`),
    [
      'a value',
      'services/x/c.ts type',
      'services/d.ts type',
      'f value',
      'services/x/g.ts value',
      'services/x/h.ts type',
      'i type',
      'services/x/j.ts value',
    ],
  )
  t.ok(SOURCES.length > 30, `${SOURCES.length} sources`)
})

t.test(
  'imports only point down: main, node, services, http, config, broker, errors, backoff, signals and urls',
  async t => {
    const SERVICES = [
      'publish',
      'wires',
      'channels',
      'tickets',
      'admin',
      'hooks',
      'docs',
      'client',
      'console',
    ]
    const BELOW: Readonly<Record<string, readonly string[]>> = {
      'main.ts': ['node', 'commands', 'config', 'tools.ts'],
      commands: ['config', 'broker'],
      // The entry point of the package, which programs import.
      'index.ts': ['node', 'config'],
      node: [...SERVICES, 'http', 'config', 'broker'],
      ...Object.fromEntries(SERVICES.map(service => [service, ['http', 'config', 'broker']])),
      http: ['config', 'broker'],
      config: ['broker'],
      broker: [],
      'tools.ts': [],
      'errors.ts': [],
      'backoff.ts': [],
      'urls.ts': [],
      'signals.ts': [],
    }
    const paths = new Set(SOURCES.map(source => source.path))
    for (const path of paths) t.ok(partOf(path) in BELOW, `${path} is in a known part`)
    t.strictSame(
      against((source, { of }) => {
        if (!of.startsWith('services/')) return true
        const [from, to] = [partOf(source.path), partOf(of)]
        if (!paths.has(of)) return false
        return (
          from === to ||
          (BELOW[from] ?? []).includes(to) ||
          ['errors.ts', 'backoff.ts', 'urls.ts', 'signals.ts'].includes(to)
        )
      }),
      [],
    )
  },
)

t.test('inside the broker imports only point down', async t => {
  const BELOW: Readonly<Record<string, readonly string[]>> = {
    'publisher.ts': ['limits', 'access', 'rules', 'log', 'event'],
    'eraser.ts': ['streams', 'log', 'event'],
    streams: ['log', 'event'],
    limits: ['control', 'access', 'rules', 'log', 'event'],
    lives: ['presence', 'rules', 'log', 'event'],
    presence: ['fanout', 'access', 'log', 'event'],
    fanout: ['log', 'event'],
    control: ['log', 'event'],
    access: ['rules', 'log', 'files', 'event'],
    rules: ['files', 'event'],
    log: ['event'],
    files: [],
    event: [],
  }
  const roomOf = (path: string) => path.split('/')[2] ?? ''
  t.strictSame(
    against(({ path }, { of }) => {
      const [from, to] = [roomOf(path), roomOf(of)]
      if (partOf(path) !== 'broker' || partOf(of) !== 'broker' || from === to) return true
      return ['logger.ts', 'slices.ts', 'patience.ts'].includes(to) || (BELOW[from] ?? []).includes(to)
    }),
    [],
  )
})

t.test('no files import each other in a circle, types included', async t => {
  const imports = new Map(SOURCES.map(({ path, imports }) => [path, imports.map(({ of }) => of)]))
  const done = new Set<string>()
  const circles: string[][] = []
  const visit = (path: string, way: readonly string[]): void => {
    if (way.includes(path)) return void circles.push([...way.slice(way.indexOf(path)), path])
    if (done.has(path)) return
    for (const next of imports.get(path) ?? []) visit(next, [...way, path])
    done.add(path)
  }
  for (const { path } of SOURCES) visit(path, [])
  t.strictSame(circles, [])
})

t.test('services import nothing outside their folder, except commands, which import the client', async t => {
  t.strictSame(
    against(({ path }, { of }) => {
      if (partOf(path) === 'commands' && of.startsWith('client/')) return true
      return !/^\.\.|^\//.test(of) && !/^(client|console|examples|test|bench|dist|infra)\//.test(of)
    }),
    [],
  )
})

t.test('broker and settings know neither Fastify nor HTTP', async t => {
  const WIRES = ['fastify', 'fastify-plugin', '@fastify', 'ws', 'socket.io']
  const HTTP = ['node:http', 'node:https', 'node:http2', 'http', 'https', 'http2']
  t.strictSame(
    against(
      (source, imported) =>
        !['broker', 'errors.ts', 'config'].includes(partOf(source.path)) ||
        ![...WIRES, ...HTTP].some(name => isPackage(imported, name)),
    ),
    [],
  )
})

t.test('only one file imports the Redis driver', async t => {
  const files = SOURCES.filter(source => source.imports.some(imported => isPackage(imported, 'ioredis')))
  t.strictSame(
    files.map(source => source.path),
    ['services/broker/log/redis/connection.ts'],
  )
})

t.test('only the node chooses an engine', async t => {
  const LOG = 'services/broker/log/'
  const isEngine = (path: string) => path === `${LOG}memory.ts` || path.startsWith(`${LOG}redis/`)
  t.strictSame(
    against(
      ({ path }, { of }) =>
        !isEngine(of) ||
        path === 'services/node/create-log.ts' ||
        // Validates Redis URLs.
        of === `${LOG}redis/url.ts` ||
        (path.startsWith(`${LOG}redis/`) && of.startsWith(`${LOG}redis/`)),
    ),
    [],
  )
})

t.test('wires do not import each other, and nothing below imports a wire', async t => {
  const folderOf = (path: string) => /^services\/wires\/([^/]+)\//.exec(path)?.[1]
  t.strictSame(
    against((source, { of }) => {
      const wire = folderOf(of)
      return wire === undefined || wire === folderOf(source.path) || source.path === 'services/wires/index.ts'
    }),
    [],
  )
})

t.test('the broker names no wire', async t => {
  const folders = SOURCES.map(({ path }) => /^services\/wires\/([^/]+)\/index\.ts$/.exec(path)?.[1])
  const wires = new Set([...folders.filter(folder => folder !== undefined), 'socket.io'])
  t.ok(wires.has('sse') && wires.has('long-poll'))
  const named = SOURCES.filter(({ path }) => partOf(path) === 'broker').flatMap(({ path, tree }) =>
    nodesOf(tree)
      .filter(node => ts.isStringLiteralLike(node) && wires.has(node.text))
      .map(node => `${path}: ${node.getText(tree)}`),
  )
  t.strictSame(named, [])
})

t.test('every wire is listed in the index, once', async t => {
  const WIRES = 'services/wires/'
  const wires = SOURCES.filter(({ path }) => /^services\/wires\/[^/]+\/index\.ts$/.test(path))
  const listed = sourceOf(`${WIRES}index.ts`).imports.filter(({ of }) => of.startsWith(WIRES))
  t.ok(wires.length > 0)
  t.strictSame(listed.map(({ of }) => of).sort(), wires.map(({ path }) => path).sort())

  const { WIRES: routes } = await import('../../services/wires/index.ts')
  t.equal(new Set(Object.values(routes)).size, wires.length, 'every imported wire is in the list')
})

t.test('only the settings module reads the environment', async t => {
  const readers = SOURCES.filter(({ tree }) =>
    nodesOf(tree).some(node => {
      if (ts.isPropertyAccessExpression(node)) {
        return node.name.text === 'env' && node.expression.getText(tree) === 'process'
      }
      if (ts.isElementAccessExpression(node)) return node.expression.getText(tree) === 'process'
      // const { env } = process
      return ts.isVariableDeclaration(node) && node.initializer?.getText(tree) === 'process'
    }),
  )
  t.strictSame(
    readers.map(source => source.path),
    ['services/config/config.ts'],
  )
  t.strictSame(
    against((_source, { of }) => !['node:process', 'process'].includes(of)),
    [],
  )
})

t.test('every file starts with its purpose', async t => {
  for (const { path, text } of SOURCES) {
    const said = /^(?:#!.*\n)?((?:\/\/ .+\n)+)/.exec(text)?.[1] ?? ''
    t.match(said.replaceAll(/^\/\/ |\n/gm, ' ').trim(), /^[A-Z`'"].{20,}\.$/s, path)
  }
})

t.test('types are never bypassed', async t => {
  for (const { path, tree, text } of SOURCES) {
    t.notMatch(text, /@ts-(ignore|nocheck|expect-error)/, path)
    const given = nodesOf(tree).filter(
      node => node.kind === ts.SyntaxKind.AnyKeyword || ts.isNonNullExpression(node),
    )
    t.strictSame(
      given.map(node => `${tree.getLineAndCharacterOfPosition(node.pos).line + 1}: ${node.getText(tree)}`),
      [],
      path,
    )
  }
})

t.test('there are no default exports', async t => {
  for (const { path, tree } of SOURCES) {
    const defaults = nodesOf(tree).filter(
      node => ts.isExportAssignment(node) || node.kind === ts.SyntaxKind.DefaultKeyword,
    )
    t.strictSame(
      defaults.filter(node => node.kind !== ts.SyntaxKind.DefaultKeyword || !ts.isDefaultClause(node.parent))
        .length,
      0,
      path,
    )
  }
})
