// URLs that come from outside.

/** What a text is as a URL; undefined where it is none. */
export function urlOf(text: string, base?: string): URL | undefined {
  // Node 20's URL.canParse is wrong about some texts that are not ASCII, once it has been called often.
  try {
    return new URL(text, base)
  } catch {
    return undefined
  }
}
