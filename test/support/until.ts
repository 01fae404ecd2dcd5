/**
 * Returns when `holds` does, which is asked every few ms; where it raises it does not. Raises after `within` ms,
 * saying `what` was waited for. The time is for what never comes, not for what is slow: the machine may be busy.
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
