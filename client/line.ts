// A line keeps one connection: it finds a wire that works, waits between attempts, and moves to a better wire.

import { backoff } from './backoff.ts'
import type { Env, Fault, Link, OpenLink, Source } from './link.ts'
import { type Happening, type State, STATES } from './states.ts'
import type { Wire } from './types.ts'
import { openBody } from './wires/body.ts'
import { openPoll } from './wires/poll.ts'
import { openWs } from './wires/ws.ts'

const OPEN: Readonly<Record<Wire, OpenLink>> = {
  ws: openWs,
  sse: openBody,
  stream: openBody,
  'long-poll': openPoll,
  poll: openPoll,
}

/** A wire that breaks sooner than this, ms, has failed; after this many such failures, another wire is tried. */
const SHORT_LIFE_MS = 10_000
const SHORT_LIVES = 3
/** A line without sources is kept for a moment: pages often resubscribe at once. */
const LINGER_MS = 500

export class Line {
  state: State = { name: 'idle' }
  readonly #env: Env
  readonly #wires: readonly Wire[]
  readonly #changed: () => void
  readonly #sources = new Set<Source>()
  #link: Link | undefined
  #probe: Link | undefined
  /** The wire that worked last, by its index. */
  #kept = 0
  #failures = 0
  #rejections = 0
  #shortLives = 0
  #since = 0
  #notBefore = 0
  #scheduled = false
  #wait: ReturnType<typeof setTimeout> | undefined
  #upgrade: ReturnType<typeof setTimeout> | undefined
  #linger: ReturnType<typeof setTimeout> | undefined

  constructor(env: Env, wires: readonly Wire[], changed: () => void) {
    this.#env = env
    this.#wires = wires
    this.#changed = changed
  }

  get size(): number {
    return this.#sources.size
  }

  has(channel: string): boolean {
    return [...this.#sources].some(source => source.channel === channel)
  }

  add(source: Source): void {
    clearTimeout(this.#linger)
    this.#sources.add(source)
    this.#schedule()
    this.happen('want')
  }

  remove(source: Source): void {
    if (!this.#sources.delete(source)) return
    this.#schedule()
    if (this.size > 0) return
    clearTimeout(this.#linger)
    this.#linger = setTimeout(() => this.size === 0 && this.happen('unwanted'), LINGER_MS)
  }

  /** Sends the changes of one turn to the wire together. */
  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      this.#link?.want([...this.#sources])
    })
  }

  /** Called when the page is shown again, or the machine has woken up. */
  check(): void {
    this.#link?.check()
    if (this.state.name === 'waiting') this.happen('retry')
  }

  happen(what: Happening, about: { readonly wire?: Wire; readonly fault?: Fault } = {}): void {
    const { name } = this.state
    const next = STATES[name][what]
    if (next === undefined || (what === 'retry' && Date.now() < this.#notBefore)) return
    const why = about.fault?.why ?? what
    if (next !== 'connected') this.#stop()
    if (next === 'waiting') {
      const until = this.#waitAfter(about.fault)
      this.state = { name: next, until, why }
      this.#wait = setTimeout(() => this.happen('due'), until - Date.now())
    } else if (next === 'connected') this.state = { name: next, wire: about.wire ?? 'poll' }
    else if (next === 'unauthorized' || next === 'closed') this.state = { name: next, why }
    else this.state = { name: next }
    this.#changed()
    if (next === 'connecting') this.#connect()
  }

  #stop(): void {
    clearTimeout(this.#wait)
    clearTimeout(this.#upgrade)
    this.#link?.close()
    this.#probe?.close()
    this.#link = this.#probe = undefined
  }

  #waitAfter({ hint = 0, kind }: Fault = { why: '' }): number {
    this.#notBefore = Date.now() + hint
    // There is no delay after an expired token, but there is if a token is rejected again.
    if (kind === 'rejected' && this.#rejections === 1) return this.#notBefore
    return Date.now() + backoff(this.#failures++, hint, this.#env.timing)
  }

  #connect(): void {
    if (this.size === 0) return this.happen('unwanted')
    const hint = this.#notBefore - Date.now()
    if (hint > 0) return this.happen('failed', { fault: { why: 'the node asked for a delay', hint } })
    const others = this.#wires.map((_, i) => i).filter(i => i !== this.#kept)
    this.#try([this.#kept, ...others])
  }

  /** Tries these wires in order until one opens. */
  #try([place = 0, ...others]: readonly number[]): void {
    const wire = this.#wires[place] as Wire
    let open = false
    const link = OPEN[wire](
      this.#env,
      {
        opened: () => {
          open = true
          if (this.#kept !== place) this.#shortLives = 0
          this.#kept = place
          this.#since = Date.now()
          this.happen('opened', { wire })
          this.#upgradeLater()
        },
        down: fault => {
          if (open) this.#broke(fault)
          else {
            // Behind a proxy that buffers one stream, another stream does not help either.
            const alike = (i: number) => OPEN[this.#wires[i] as Wire] === OPEN[wire]
            const left = fault.kind === 'mute' ? others.filter(i => !alike(i)) : others
            const passes = fault.kind === undefined || fault.kind === 'mute'
            if (passes && left.length > 0) this.#try(left)
            else this.#failed(fault)
          }
        },
      },
      wire,
    )
    this.#link = link
    link.want([...this.#sources])
  }

  /** Called when a wire that worked has failed. */
  #broke(fault: Fault): void {
    const life = Date.now() - this.#since
    if (life > Math.min(SHORT_LIFE_MS, this.#env.timing.maxBackoff)) this.#failures = this.#rejections = 0
    const short = fault.kind === undefined && life < SHORT_LIFE_MS
    this.#shortLives = short ? this.#shortLives + 1 : 0
    if (fault.kind === 'mute' || this.#shortLives >= SHORT_LIVES) {
      this.#shortLives = 0
      this.#kept = (this.#kept + 1) % this.#wires.length
    }
    this.#failed(fault)
  }

  #failed(fault: Fault): void {
    const { kind } = fault
    if (kind === 'rejected') {
      this.#rejections++
      this.#env.credentials.drop()
    }
    if (kind === 'final') this.happen('refused', { fault })
    else if (kind === 'signed-out' || (kind === 'rejected' && !this.#env.credentials.renewable))
      this.happen('unauthorized', { fault })
    else this.happen('failed', { fault })
  }

  #upgradeLater(): void {
    clearTimeout(this.#upgrade)
    if (this.#kept === 0) return
    this.#upgrade = setTimeout(() => this.#probeFor(0), this.#env.timing.upgrade * (0.75 + Math.random() / 2))
  }

  /** Tries a better wire while the current one works. Once it opens, continues there from each channel's position. */
  #probeFor(place: number): void {
    const wire = this.#wires[place]
    if (wire === undefined || place >= this.#kept) return this.#upgradeLater()
    this.#probe?.close()
    this.#probe = OPEN[wire](
      this.#env,
      {
        opened: () => {
          this.#probe?.close()
          this.#link?.close()
          this.#try([place, this.#kept])
        },
        down: () => this.#probeFor(place + 1),
      },
      wire,
    )
    this.#probe.want([...this.#sources].map(deaf))
  }
}

/** A source that ignores what it receives, to test a wire. */
function deaf({ channel, options }: Source): Source {
  const nothing = () => {}
  const cursor = 'latest'
  return {
    channel,
    options,
    cursor,
    opened: nothing,
    event: nothing,
    gap: nothing,
    end: nothing,
    refused: nothing,
  }
}
