/**
 * Returns when `holds` returns true, which is checked every few ms, and less often the longer it takes; an error counts as
 * false. Raises after `within` ms, with `what` as the awaited condition. The timeout is for failures, not for slowness:
 * the machine may be busy.
 */
export async function until(
  what: string,
  holds: () => boolean | Promise<unknown>,
  within = 30_000,
): Promise<void> {
  const began = performance.now()
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
    const waited = performance.now() - began
    if (waited > within) throw new Error(`not within ${within} ms: ${what}`, { cause: reason })
    await new Promise(resolve => setTimeout(resolve, pauseAfter(waited)))
  }
}

/** Ms until the next check, for checks that cost the tested nodes something, such as their metrics. */
const pauseAfter = (waited: number) => Math.min(Math.max(5, waited / 20), 200)
