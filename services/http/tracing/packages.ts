// The packages of OpenTelemetry that traces need. They are not installed with fanwire, so nothing here relies on their
// types: what is used of them is said here.

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

/** Packages are not installed. */
export class PackagesMissing extends Error {
  override readonly name = 'PackagesMissing'
}

/** Each with the version that goes with the others, and with all versions of Node that fanwire runs on. */
const VERSIONS = {
  api: ['@opentelemetry/api', '1'],
  sdk: ['@opentelemetry/sdk-trace-base', '2'],
  resources: ['@opentelemetry/resources', '2'],
  otlp: ['@opentelemetry/exporter-trace-otlp-http', '0.223'],
} as const

/** Raises PackagesMissing. */
export async function loadPackages(
  load = (name: string): Promise<unknown> => import(name),
): Promise<Packages> {
  const loaded = await Promise.all(
    Object.entries(VERSIONS).map(async ([key, [name]]) => [key, await load(name).catch(missing)] as const),
  )
  return Object.fromEntries(loaded) as unknown as Packages
}

function missing(error: unknown): never {
  if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error
  const names = Object.values(VERSIONS)
    .map(([name, version]) => `${name}@${version}`)
    .join(' ')
  throw new PackagesMissing(
    `FW_OTEL_PACKAGES: FANWIRE_OTEL=1 needs packages that are not installed: npm install ${names}`,
  )
}
