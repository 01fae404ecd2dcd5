/** How long a test waits for a condition, ms. Only failures exceed it, not slowness of a busy machine. */
export const WAIT_LIMIT_MS = 60_000

/**
 * Returns when `holds` returns true, which is checked every few ms; an error counts as false. Raises after `within` ms,
 * with `what` as the awaited condition.
 */
export async function until(
  what: string,
  holds: () => boolean | Promise<unknown>,
  within = WAIT_LIMIT_MS,
): Promise<void> {
  const end = performance.now() + within
  let reason: unknown
  const isSo = async () => {
    try {
      return await holds()
    } catch (error) {
      reason = error
      return false
    }
  }
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`not within ${within} ms: ${what}`, { cause: reason })
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}
