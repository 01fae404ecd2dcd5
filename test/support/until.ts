/**
 * Returns when `holds` returns true, which is checked every few ms; an error counts as false. Raises after `within` ms,
 * with `what` as the awaited condition. The timeout is for failures, not for slowness: the machine may be busy.
 */
export async function until(
  what: string,
  holds: () => boolean | Promise<unknown>,
  within = 30_000,
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
