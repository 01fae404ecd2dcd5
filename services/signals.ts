// Signals that ask a process to stop. One Ctrl-C may arrive twice: the terminal signals every process, and npm and npx
// forward it to their child as well.

/** The signals with which a terminal or a service manager stops a process. */
export const STOP_SIGNALS = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM'] as const

export type StopSignal = (typeof STOP_SIGNALS)[number]

/** Time within which another signal is an echo of the first, ms. */
const ECHO_MS = 500

/**
 * Calls `stop` for the first signal, and `again` for each later one that is not an echo. Without `again`, the system ends
 * the process. The listeners stay until the result is called, since without them the system would end the process.
 */
export function onStop(
  signals: readonly StopSignal[],
  stop: (signal: StopSignal) => void,
  again?: (signal: StopSignal) => void,
): () => void {
  let echoUntil: number | undefined
  const listener = (signal: NodeJS.Signals) => {
    if (echoUntil === undefined) {
      echoUntil = performance.now() + ECHO_MS
      stop(signal as StopSignal)
    } else if (performance.now() > echoUntil) {
      if (again !== undefined) return again(signal as StopSignal)
      off()
      process.kill(process.pid, signal)
    }
  }
  const off = () => {
    for (const signal of signals) process.off(signal, listener)
  }
  for (const signal of signals) process.on(signal, listener)
  return off
}
