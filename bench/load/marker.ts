// The bench's event data: a marker that can be found in any wire's bytes without parsing its frames, and a clock
// shared by all processes of the bench.
//
//     "@S00001234T0000000790123456@..........................."
//       └ sequence └ when it should have been sent, µs      └ padding
//
// JSON text, so that fanwire accepts it as data. No byte of it is ever escaped by a wire.

/** Bytes of a marker, from `@S` to the closing `@`. */
export const MARKER = 28
/** Offsets of a marker's parts. */
export const SEQUENCE_AT = 2
export const TIME_AT = 11

/** Bytes of the smallest data: a marker in its quotes. */
export const LEAST = MARKER + 2

/** Data of `size` bytes. `sequence` is below 10^8, `time` is a value of `now`, µs. */
export function payload(sequence: number, time: number, size: number): string {
  if (size < LEAST) throw new Error(`data has at least ${LEAST} bytes`)
  const digits = String(sequence).padStart(8, '0')
  const micros = String(Math.round(time)).padStart(16, '0')
  return `"@S${digits}T${micros}@${'.'.repeat(size - LEAST)}"`
}

const offset = calibrate()

/** Microseconds of the machine's monotonic clock: the same in every process (CLOCK_MONOTONIC). */
export function now(): number {
  return offset + performance.now() * 1000
}

/** The machine's clock minus performance.now(), µs. A pause between the two reads only makes it smaller. */
function calibrate(): number {
  let offset = Number.NEGATIVE_INFINITY
  for (let i = 0; i < 100; i++) {
    const machine = Number(process.hrtime.bigint()) / 1000
    offset = Math.max(offset, machine - performance.now() * 1000)
  }
  return offset
}
