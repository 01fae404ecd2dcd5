/** Reads a stream's text as it arrives. */
export class Reading {
  text = ''
  readonly #reader: ReadableStreamDefaultReader<string>

  constructor(response: Response) {
    if (response.body === null) throw new Error('no body')
    this.#reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  }

  /** Returns the text when it matches, or at the end of the stream. */
  async until(pattern: RegExp): Promise<string> {
    while (!pattern.test(this.text)) {
      const { done, value } = await this.#reader.read().catch(() => ({ done: true, value: undefined }))
      if (done) break
      this.text += value
    }
    return this.text
  }
}
