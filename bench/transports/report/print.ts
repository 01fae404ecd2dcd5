// Formats numbers and places.

import type { Place } from './select.ts'

/** Three significant digits, at most two after the decimal point. Empty for undefined. */
export function short(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return ''
  const size = Math.abs(value)
  const maximumFractionDigits = size >= 100 ? 0 : size >= 10 ? 1 : 2
  return value.toLocaleString('en', { maximumFractionDigits })
}

export function whole(value: number | undefined): string {
  return value === undefined ? '' : Math.round(value).toLocaleString('en')
}

export function percent(share: number | undefined): string {
  if (share === undefined || !Number.isFinite(share)) return ''
  // A share below 1 must not be printed as 100 %.
  const floored = share < 1 ? Math.min(Math.round(share * 1000) / 10, 99.9) : share * 100
  return floored.toLocaleString('en', { maximumFractionDigits: 1 })
}

export function ms(value: number): string {
  return `${short(value)} ms`
}

export function cpuTime(micros: number): string {
  if (micros >= 1e6) return `${short(micros / 1e6)} s`
  return micros >= 1000 ? `${short(micros / 1000)} ms` : `${short(micros)} µs`
}

/** 1 kB is 1,000 bytes, as is usual for networks. */
export function traffic(bytes: number): string {
  if (bytes >= 1e6) return `${short(bytes / 1e6)} MB`
  return bytes >= 10_000 ? `${short(bytes / 1000)} kB` : `${short(bytes)} B`
}

/** `1.8 times`, or `0.4 times`. */
export function times(a: number, b: number): string {
  return b > 0 ? `${short(a / b)} times` : '∞ times'
}

export function events(rate: number): string {
  return rate === 0 ? 'no events' : `${short(rate)} event${rate === 1 ? '' : 's'}/s`
}

export function where({ clients, rate, nodes }: Place): string {
  const behind = nodes > 1 ? `, ${nodes} nodes` : ''
  return `${whole(clients)} client${clients === 1 ? '' : 's'}, ${events(rate)}${behind}`
}

export function group({ clients, nodes }: Omit<Place, 'rate'>): string {
  return `${whole(clients)} client${clients === 1 ? '' : 's'}, ${nodes === 1 ? 'one node' : `${nodes} nodes behind nginx`}`
}
