// A limit of a fixed number per second.

export class Allowance {
  readonly #perSecond: number
  #left: number
  #second = 0

  constructor(perSecond: number) {
    this.#perSecond = perSecond
    this.#left = perSecond
  }

  /** Takes one of this second's permits. Returns false if none is left. */
  take(): boolean {
    const second = Math.floor(performance.now() / 1000)
    if (second !== this.#second) {
      this.#second = second
      this.#left = this.#perSecond
    }
    if (this.#left <= 0) return false
    this.#left--
    return true
  }

  /** Returns a permit that was taken but not needed. */
  giveBack(): void {
    this.#left = Math.min(this.#perSecond, this.#left + 1)
  }
}
