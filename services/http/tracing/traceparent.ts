// W3C Trace Context: the header `traceparent`, which is also the tag by which an event carries its trace.

import type { SpanContext } from '@opentelemetry/api'

/** Name of the header, and of an event's tag. */
export const TRACEPARENT = 'traceparent'

/** Version, trace, parent, flags; a later version may have more. */
const FORM = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/

/** Undefined if it is malformed. */
export function parseTraceparent(text: string | undefined): SpanContext | undefined {
  const [, traceId, spanId, flags] = (text === undefined ? null : FORM.exec(text)) ?? []
  if (traceId === undefined || spanId === undefined || flags === undefined) return undefined
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & 1, isRemote: true }
}

export function printTraceparent({ traceId, spanId, traceFlags }: SpanContext): string {
  return `00-${traceId}-${spanId}-0${traceFlags & 1}`
}
