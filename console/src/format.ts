// Numbers and times as people read them.

export function count(value: number): string {
  return Math.abs(value) >= 100_000
    ? new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 }).format(value)
    : new Intl.NumberFormat('en', { maximumFractionDigits: value < 10 ? 1 : 0 }).format(value)
}

/** A number of things, such as `1 event` or `2 events`. */
export function counted(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? '' : 's'}`
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

export function bytes(value: number): string {
  let unit = 0
  let rest = value
  while (rest >= 1024 && unit < UNITS.length - 1) {
    rest /= 1024
    unit++
  }
  return `${rest < 10 && unit > 0 ? rest.toFixed(1) : Math.round(rest)} ${UNITS[unit]}`
}

export function ms(value: number): string {
  if (value < 10) return `${value.toFixed(1)} ms`
  return value < 1000 ? `${Math.round(value)} ms` : duration(value)
}

export function duration(value: number): string {
  const seconds = value / 1000
  if (seconds < 90) return `${Math.round(seconds)} s`
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`
  return seconds < 129_600 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} d`
}

// Created once: a list prints hundreds of events.
const CLOCK = new Intl.DateTimeFormat('en', { timeStyle: 'medium', hour12: false })
const MOMENT = new Intl.DateTimeFormat('sv', { dateStyle: 'short', timeStyle: 'medium' })

export const clock = (time: number): string => CLOCK.format(time)
export const moment = (time: number): string => MOMENT.format(time)

/** The value below which this part of all values lies; 0 without values. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0
}

/** Data on one line. */
export function preview(data: unknown, length = 300): string {
  const text = typeof data === 'string' ? data : JSON.stringify(data)
  return text.length > length ? `${text.slice(0, length)}…` : text
}
