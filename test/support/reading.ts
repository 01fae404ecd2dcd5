/** A stream's text so far, read as it comes. */
export class Reading {
  text = ''
  readonly #reader: ReadableStreamDefaultReader<string>

  constructor(response: Response) {
    if (response.body === null) throw new Error('no body')
    this.#reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  }

  /** Returns when it fits, or at the end. */
  async until(pattern: RegExp): Promise<string> {
    while (!pattern.test(this.text)) {
      const { done, value } = await this.#reader.read().catch(() => ({ done: true, value: undefined }))
      if (done) break
      this.text += value
    }
    return this.text
  }
}
