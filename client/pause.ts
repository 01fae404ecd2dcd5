// A wait that can end early.

/** Resolves after `ms`, or when the signal aborts. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const end = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    signal.addEventListener('abort', end)
  })
}

/**
 * Runs `run` with a signal that also aborts after `ms`. (In some versions of Node, AbortSignal.timeout may never fire,
 * because it is garbage-collected.)
 */
export async function within<T>(
  ms: number,
  signal: AbortSignal,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const abort = new AbortController()
  const stop = () => abort.abort(signal.reason)
  const timer = setTimeout(() => abort.abort(new Error('there was no answer in time')), ms)
  signal.addEventListener('abort', stop)
  try {
    return await run(abort.signal)
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', stop)
  }
}
