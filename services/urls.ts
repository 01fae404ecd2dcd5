// Parses URLs from clients and settings.

/** Parses a URL; undefined if the text is not one. */
export function urlOf(text: string, base?: string): URL | undefined {
  // Node 20's URL.canParse is wrong about some texts that are not ASCII, once it has been called often.
  try {
    return new URL(text, base)
  } catch {
    return undefined
  }
}
