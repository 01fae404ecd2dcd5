// The packages of OpenTelemetry that traces need. They are not installed with fanwire, so nothing here relies on their
// types: the used parts are declared here.

import { createRequire } from 'node:module'
import type * as Api from '@opentelemetry/api'

interface Provider {
  getTracer(name: string, version: string): Api.Tracer
  shutdown(): Promise<void>
}

interface Resource {
  merge(other: Resource): Resource
}

interface Sdk {
  readonly BasicTracerProvider: new (options: object) => Provider
  readonly BatchSpanProcessor: new (exporter: object) => object
}

interface Resources {
  readonly envDetector: object
  detectResources(options: object): Resource
  resourceFromAttributes(attributes: Readonly<Record<string, string>>): Resource
}

export interface Packages {
  readonly api: typeof Api
  readonly sdk: Sdk
  readonly resources: Resources
  readonly otlp: { readonly OTLPTraceExporter: new () => object }
}

/** Some packages are not installed. */
export class PackagesMissing extends Error {
  override readonly name = 'PackagesMissing'
}

/** Versions that match each other, and support all versions of Node that fanwire supports. */
const VERSIONS = {
  api: ['@opentelemetry/api', '1'],
  sdk: ['@opentelemetry/sdk-trace-base', '2'],
  resources: ['@opentelemetry/resources', '2'],
  otlp: ['@opentelemetry/exporter-trace-otlp-http', '0.223'],
} as const

/** Loads the packages. Raises PackagesMissing. */
export function loadPackages(load: (name: string) => unknown = createRequire(import.meta.url)): Packages {
  const loaded = Object.entries(VERSIONS).map(([key, [name]]) => [key, loadOne(load, name)])
  return Object.fromEntries(loaded) as Packages
}

function loadOne(load: (name: string) => unknown, name: string): unknown {
  try {
    return load(name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw error
    throw new PackagesMissing(missing())
  }
}

function missing(): string {
  const names = Object.values(VERSIONS)
    .map(([name, version]) => `${name}@${version}`)
    .join(' ')
  return `FW_OTEL_PACKAGES: FANWIRE_OTEL=1 needs packages that are not installed: npm install ${names}`
}
