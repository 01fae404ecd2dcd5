// Times as clients write them: ms since 1970, or RFC 3339.

const MS = /^(?:0|[1-9][0-9]{0,14})$/
/** RFC 3339 section 5.6, with a zone; an unencoded `+` in a query arrives as a space. */
const RFC_3339 = /^(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d(?:\.\d{1,9})?)(?:([Zz])|([-+ ])(\d\d:\d\d))$/

/** Ms since 1970, or undefined if `text` is not a time. */
export function parseTime(text: string): number | undefined {
  if (MS.test(text)) return Number(text)
  const [, date, time, utc, sign, offset] = RFC_3339.exec(text) ?? []
  if (date === undefined) return undefined
  const zone = utc === undefined ? `${sign === ' ' ? '+' : sign}${offset}` : 'Z'
  const ms = Date.parse(`${date}T${time}${zone}`)
  return Number.isNaN(ms) || !isDay(date) || ms < 0 ? undefined : ms
}

/** Whether the month has that day: Date.parse takes February 30 for March 2. */
function isDay(date: string): boolean {
  return new Date(`${date}T00:00:00Z`).toISOString().startsWith(date)
}
