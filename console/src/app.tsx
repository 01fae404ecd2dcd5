// The frame: navigation, the token, and the view that the hash names.

import { useEffect, useRef, useState } from 'preact/hooks'
import { ApiError, get, token } from './api.ts'
import { type Route, useRoute } from './state.ts'
import { Channel } from './views/channel.tsx'
import { Channels } from './views/channels.tsx'
import { Explain } from './views/explain.tsx'
import { Now } from './views/now.tsx'
import { Posts } from './views/posts.tsx'
import { TimeLine } from './views/time-line.tsx'
import { Workbench } from './views/workbench.tsx'

/** The rights of the token. `none`: the node requires a token, or rejects this one. */
type Access = 'asking' | 'admin' | 'reader' | 'none'

const VIEWS = [
  { name: 'now', title: 'Now', admin: true },
  { name: 'channels', title: 'Channels', admin: false },
  { name: 'workbench', title: 'Workbench', admin: false },
  { name: 'time', title: 'Time line', admin: false },
  { name: 'explain', title: 'Explain', admin: true },
  { name: 'posts', title: 'Posts', admin: false },
] as const

async function accessOf(): Promise<Access> {
  try {
    await get('/v1/admin/nodes?limit=1')
    return 'admin'
  } catch (error) {
    if (!(error instanceof ApiError)) return 'none'
    if (error.status === 403) return 'reader'
    return error.status === 401 && token.get() === '' ? 'reader' : 'none'
  }
}

export function App() {
  const route = useRoute()
  const [access, setAccess] = useState<Access>('asking')
  const [turn, setTurn] = useState(0)
  const main = useRef<HTMLElement>(null)
  useEffect(() => {
    void accessOf().then(setAccess)
  }, [turn])
  const views = VIEWS.filter(({ admin }) => access === 'admin' || !admin)
  const isHidden = VIEWS.some(({ name, admin }) => name === route.view && admin && access !== 'admin')
  const first = access === 'admin' ? 'workbench' : 'channels'
  const view = route.view === '' || isHidden ? first : route.view
  const title = VIEWS.find(({ name }) => name === view)?.title ?? 'Nothing here'
  useEffect(() => {
    document.title = `${title} · fanwire`
    main.current?.focus({ preventScroll: true })
  }, [view, route.visit])
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={event => {
          event.preventDefault()
          main.current?.focus()
        }}
      >
        Skip to the content
      </a>
      <header class="bar">
        <a class="brand" href="#/">
          <img src="/console/icon.svg" alt="" width="22" height="22" /> fanwire
        </a>
        <nav aria-label="Views">
          {views.map(({ name, title }) => (
            <a key={name} href={`#/${name}`} aria-current={name === view ? 'page' : undefined}>
              {title}
            </a>
          ))}
        </nav>
        <Token access={access} changed={() => setTurn(turn + 1)} />
      </header>
      <main id="main" ref={main} tabIndex={-1} key={turn}>
        {access === 'none' && (
          <p class="problem" role="alert">
            The node does not accept this token. Enter another one above.
          </p>
        )}
        {access === 'reader' && (
          <p class="hint">
            Without the right <code>admin</code> you see only the channels that you may read.
          </p>
        )}
        {access !== 'asking' && access !== 'none' && <View view={view} route={route} />}
      </main>
    </>
  )
}

function View({ view, route: { rest, query, visit } }: { view: string; route: Route }) {
  switch (view) {
    case 'now':
      return <Now />
    case 'channels':
      return rest === '' ? <Channels /> : <Channel key={rest} channel={rest} />
    case 'workbench':
      return <Workbench key={visit} first={query.get('channel') ?? 'workbench'} />
    case 'time':
      return <TimeLine key={visit} first={query.get('channel') ?? ''} at={query.get('at') ?? ''} />
    case 'explain':
      return <Explain />
    case 'posts':
      return <Posts />
    default:
      return <p>There is no such view.</p>
  }
}

function Token({ access, changed }: { access: Access; changed: () => void }) {
  const [open, setOpen] = useState(false)
  const [value, setValue] = useState('')
  const use = (next: string) => {
    token.set(next.trim())
    setValue('')
    setOpen(false)
    changed()
  }
  const isSet = token.get() !== ''
  return (
    <div class="token">
      <button type="button" aria-expanded={open} onClick={() => setOpen(!open)}>
        {isSet ? 'Token set' : access === 'admin' ? 'No token needed' : 'Sign in'}
      </button>
      {open && (
        <form
          class="popover"
          onSubmit={event => {
            event.preventDefault()
            use(value)
          }}
        >
          <label>
            Token or API key
            <input
              type="password"
              autocomplete="off"
              value={value}
              onInput={event => setValue(event.currentTarget.value)}
            />
          </label>
          <p class="dim">It stays in this tab and goes to this node only.</p>
          <div class="row">
            <button type="submit">Use it</button>
            {isSet && (
              <button type="button" onClick={() => use('')}>
                Forget it
              </button>
            )}
          </div>
        </form>
      )}
    </div>
  )
}
