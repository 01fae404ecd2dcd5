// Limits how often a frequently changing view is drawn.

const EVERY_MS = 200

export interface Pace {
  /** Draws on a coming animation frame, EVERY_MS after the last drawing at the earliest. */
  soon(): void
  stop(): void
}

export function paced(draw: () => void): Pace {
  let timer: ReturnType<typeof setTimeout> | undefined
  let frame = 0
  let last = -EVERY_MS
  const show = (now: number) => {
    timer = undefined
    last = now
    draw()
  }
  return {
    soon() {
      const wait = Math.max(0, last + EVERY_MS - performance.now())
      timer ??= setTimeout(() => (frame = requestAnimationFrame(show)), wait)
    },
    stop() {
      clearTimeout(timer)
      cancelAnimationFrame(frame)
      timer = undefined
    },
  }
}
