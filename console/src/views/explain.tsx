// Explains why a user has a right or not, and why an event did or did not reach a user.

import { useState } from 'preact/hooks'
import { post } from '../api.ts'
import { moment } from '../format.ts'
import { Panel, Problem } from '../parts.tsx'

interface RightExplained {
  readonly allowed: boolean
  readonly why: string
  readonly rule: { readonly match: string; readonly line: number } | null
  /** Set if the application decides. */
  readonly hook: { readonly url: string } | null
  readonly grant: { readonly origin: string; readonly channels: string[]; readonly allow: string[] } | null
}

interface EventExplained {
  readonly event: {
    readonly id: string
    readonly state: string
    readonly head: string
    readonly tail?: string
  }
  readonly readers: readonly {
    readonly node: string
    readonly client: string
    readonly wire: string
    readonly since?: number
    readonly position?: string
    readonly had: boolean | null
    readonly why: string
  }[]
  readonly why: string
}

const RIGHTS = ['subscribe', 'publish', 'history', 'presence', 'admin']

function useExplain<T>(): [T | undefined, unknown, (body: object) => Promise<void>] {
  const [{ answer, error }, setState] = useState<{ answer?: T; error?: unknown }>({})
  const ask = async (body: object) => {
    try {
      setState({ answer: await post<T>('/v1/admin/explain', body) })
    } catch (error) {
      setState({ error })
    }
  }
  return [answer, error, ask]
}

/** The fields of a form that are not empty. */
function fieldsOf(event: Event): Record<string, string> {
  event.preventDefault()
  const entries = [...new FormData(event.currentTarget as HTMLFormElement)] as [string, string][]
  return Object.fromEntries(
    entries.map(([name, value]) => [name, value.trim()]).filter(([, value]) => value !== ''),
  )
}

export function Explain() {
  return (
    <>
      <h1>Explain</h1>
      <div class="grid">
        <ExplainRight />
        <ExplainEvent />
      </div>
    </>
  )
}

/** By the class of the answer. */
const VERDICTS = { good: 'Yes.', open: 'The application decides.', bad: 'No.' }

function ExplainRight() {
  const [answer, error, ask] = useExplain<RightExplained>()
  const [by, setBy] = useState('token')
  const kind = answer?.allowed ? 'good' : answer?.hook ? 'open' : 'bad'
  return (
    <Panel title="Is it allowed?">
      <form onSubmit={event => void ask(fieldsOf(event))}>
        <label>
          For
          <select value={by} onChange={event => setBy(event.currentTarget.value)}>
            <option value="token">the bearer of a token</option>
            <option value="user">a user, by the rules alone</option>
          </select>
        </label>
        <label>
          {by === 'token' ? 'Token' : 'User'}
          <input key={by} name={by} required autocomplete="off" spellcheck={false} />
        </label>
        <label>
          Right
          <select name="right">
            {RIGHTS.map(right => (
              <option key={right}>{right}</option>
            ))}
          </select>
        </label>
        <label>
          Channel
          <input name="channel" placeholder="chat:1" />
        </label>
        <button type="submit">Explain</button>
      </form>
      <Problem error={error} />
      {answer !== undefined && (
        <div class={`state ${kind}`} role="status">
          <p>
            <b>{VERDICTS[kind]}</b> {answer.why}
          </p>
          {answer.rule !== null && (
            <p>
              Rule <code>{answer.rule.match}</code>
              {answer.rule.line > 0 && `, line ${answer.rule.line}`}
            </p>
          )}
          {answer.grant !== null && (
            <p>
              Granted by {answer.grant.origin}: {answer.grant.allow.join(', ')} on{' '}
              {answer.grant.channels.join(', ')}
            </p>
          )}
        </div>
      )}
    </Panel>
  )
}

function ExplainEvent() {
  const [answer, error, ask] = useExplain<EventExplained>()
  return (
    <Panel title="Why was an event not delivered?">
      <form onSubmit={event => void ask({ user: '', ...fieldsOf(event) })}>
        <label>
          User (empty: anonymous)
          <input name="user" />
        </label>
        <label>
          Channel
          <input name="channel" required />
        </label>
        <label>
          Event id
          <input name="id" required placeholder="m3k9zq-42" />
        </label>
        <button type="submit">Explain</button>
      </form>
      <Problem error={error} />
      {answer !== undefined && (
        <div class="state" role="status">
          <p>{answer.why}</p>
          <p class="dim">
            The event is {answer.event.state}; the head is <code>{answer.event.head}</code>.
          </p>
          <ul>
            {answer.readers.map(reader => (
              <li key={reader.client}>
                {reader.wire} on <code>{reader.node}</code>
                {reader.since !== undefined && ` since ${moment(reader.since)}`}: {reader.why}
              </li>
            ))}
          </ul>
        </div>
      )}
    </Panel>
  )
}
