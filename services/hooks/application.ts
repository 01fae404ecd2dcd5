// The node's hook calls to the application, loaded once rules name a hook.

import type { Logger } from '../broker/logger.ts'
import type { Hook, Rules } from '../broker/rules/rules.ts'
import type { Context } from '../http/context.ts'
import { Addresses } from './addresses.ts'
import type { ApplicationAsking } from './asking.ts'
import { Poster } from './post.ts'
import type { Questions } from './questions.ts'

/** The maximum connections to one application. */
const CONNECTIONS = 64

export class Application {
  readonly #context: Context
  readonly #logger: Logger
  #poster: Poster | undefined
  #questions: Questions | undefined
  #asking: ApplicationAsking | undefined

  constructor(context: Context, logger: Logger) {
    this.#context = context
    this.#logger = logger
    context.metrics.countHooks(() => this.#questions?.counts ?? [])
    context.access.on('revoked', () => this.#asking?.forget())
  }

  /** Follows the rules. When they change, earlier decisions are requested again. */
  async open(): Promise<void> {
    const { access, config } = this.#context
    if (hooksOf(access.rules).length === 0) return void (access.asking = undefined)
    const [{ ApplicationAsking }, { Questions }] = await Promise.all([
      import('./asking.ts'),
      import('./questions.ts'),
    ])
    const poster = (this.#poster ??= new Poster(new Addresses(config.hooksPrivate), CONNECTIONS))
    // Loaded now, so that the first client does not wait.
    await poster.load()
    this.#questions ??= new Questions({ logger: this.#logger, post: post => poster.post(post) })
    // Rules may have changed meanwhile.
    const hooks = hooksOf(access.rules)
    this.#questions.keep(hooks)
    this.#asking = new ApplicationAsking(access.rules.hooks, hooks, this.#questions)
    access.asking = hooks.length === 0 ? undefined : this.#asking
  }

  async close(): Promise<void> {
    await this.#poster?.close()
  }
}

function hooksOf({ list, default: others, hooks }: Rules): Hook[] {
  const ofRules = [...list, others].flatMap(({ hook }) => (hook === undefined ? [] : [hook]))
  return [...Object.values(hooks), ...ofRules]
}
