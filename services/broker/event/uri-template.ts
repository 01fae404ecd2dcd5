// Matches texts against URI templates (RFC 6570). Every character is read once, whatever the template.

/** A literal character, or a character of a set, which may repeat or be omitted. */
interface State {
  readonly takes: (char: string) => boolean
  /** Set if it may repeat. */
  readonly repeats?: true
  /** The next state without it; undefined if it is required. */
  readonly skipTo?: number
}

const UNRESERVED = 'A-Za-z0-9\\-._~%\\u{80}-\\u{10ffff}'
const RESERVED = ":/?#\\[\\]@!$&'()*+,;="
const setOf = (characters: string) => {
  const set = new RegExp(`^[${characters}]$`, 'u')
  return (char: string) => set.test(char)
}
const simple = setOf(`${UNRESERVED},`)
const reserved = setOf(UNRESERVED + RESERVED)

/** For each operator, the character that begins an expansion, and those that may follow. */
const OPERATORS: Readonly<Record<string, { readonly first?: string; readonly takes: State['takes'] }>> = {
  '': { takes: simple },
  '+': { takes: reserved },
  '#': { first: '#', takes: reserved },
  '.': { first: '.', takes: simple },
  '/': { first: '/', takes: setOf(`${UNRESERVED},/`) },
  ';': { first: ';', takes: setOf(`${UNRESERVED},;=`) },
  '?': { first: '?', takes: setOf(`${UNRESERVED},&=`) },
  '&': { first: '&', takes: setOf(`${UNRESERVED},&=`) },
}

const EXPRESSION =
  /^\{([+#./;?&]?)[A-Za-z0-9_.%]+(?::[1-9][0-9]{0,3}|\*)?(?:,[A-Za-z0-9_.%]+(?::[1-9][0-9]{0,3}|\*)?)*\}$/
const PARTS = /\{[^{}]*\}|[^{}]+|[{}]/g

/** Returns a function that tests whether a text is an expansion of the template; undefined if it is malformed. */
export function parseTemplate(template: string): ((text: string) => boolean) | undefined {
  if (!template.includes('{')) return undefined
  const states: State[] = []
  for (const part of template.match(PARTS) ?? []) {
    const operator = EXPRESSION.exec(part)?.[1]
    if (operator === undefined && /[{}]/.test(part)) return undefined
    if (operator === undefined) states.push(...[...part].map(literal))
    else states.push(...expansion(operator, states.length))
  }
  return text => matches(states, text)
}

function literal(char: string): State {
  return { takes: other => other === char }
}

/** The states of an expression. All can be omitted, since an expression without values expands to nothing. */
function expansion(operator: string, at: number): State[] {
  const { first, takes } = OPERATORS[operator] as (typeof OPERATORS)[string]
  if (first === undefined) return [{ takes, repeats: true, skipTo: at + 1 }]
  return [
    { ...literal(first), skipTo: at + 2 },
    { takes, repeats: true, skipTo: at + 2 },
  ]
}

function matches(states: readonly State[], text: string): boolean {
  let at = reach(states, [0])
  for (const char of text) {
    const next: number[] = []
    for (const i of at) {
      const state = states[i]
      if (state?.takes(char) !== true) continue
      next.push(state.repeats ? i : i + 1)
    }
    if (next.length === 0) return false
    at = reach(states, next)
  }
  return at.has(states.length)
}

/** These states, and those that are reachable by omitting some. */
function reach(states: readonly State[], from: readonly number[]): Set<number> {
  const reached = new Set(from)
  for (const i of reached) {
    const skipTo = states[i]?.skipTo
    if (skipTo !== undefined) reached.add(skipTo)
  }
  return reached
}
