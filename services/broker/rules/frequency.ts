// Rates as rules and settings write them.

const PERIODS = { s: 1, m: 60, h: 3600 } as const

export const FREQUENCY = /^(\d{1,7})\/(s|m|h)$/

/** Parses `10/s`, `600/m` or `100/h` to a rate per second; undefined for anything else. */
export function parseFrequency(text: string): number | undefined {
  const [, number, unit] = FREQUENCY.exec(text) ?? []
  return Number(number) > 0 ? Number(number) / PERIODS[unit as keyof typeof PERIODS] : undefined
}
