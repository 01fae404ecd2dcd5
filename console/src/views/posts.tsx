// A feed of posts, newest first, over a chosen wire, with the code of a client beside it.

import { useEffect, useState } from 'preact/hooks'
import { type FanwireEvent, publish, wordsOf } from '../api.ts'
import { clock } from '../format.ts'
import { paced } from '../pace.ts'
import { Panel, Problem } from '../parts.tsx'
import { reconnect } from '../reconnect.ts'
import { type Sink, WIRES } from '../wires.ts'

const CHANNEL = 'posts'
const SHOWN = 50
const RECONNECT_MS = 1000

/** The shortest client for a browser. */
const CODE: Readonly<Record<string, string>> = {
  poll: `let cursor = 'earliest'
setInterval(async () => {
  const response = await fetch(\`/v1/poll?channel=posts&cursor=\${cursor}\`)
  const page = await response.json()
  cursor = page.cursor
  for (const event of page.events) prepend(event.data)
}, 1000)`,
  'long-poll': `let cursor = 'latest'
for (;;) {
  const response = await fetch(\`/v1/long-poll?channel=posts&cursor=\${cursor}\`)
  const page = await response.json()
  cursor = page.cursor
  for (const event of page.events) prepend(event.data)
}`,
  sse: `const source = new EventSource('/v1/sse?channel=posts')
source.addEventListener('post', ({ data }) => {
  prepend(JSON.parse(data).data)
})`,
  stream: `const response = await fetch('/v1/stream?channel=posts')
const text = response.body.pipeThrough(new TextDecoderStream())
for await (const line of splitLines(text)) {
  if (line !== '') take(JSON.parse(line))
}`,
  ws: `const socket = new WebSocket('ws://' + location.host + '/v1/ws?channel=posts')
socket.onmessage = ({ data }) => {
  const event = JSON.parse(data)
  if ('data' in event) prepend(event.data)
}`,
  'socket.io': `const socket = io()
socket.emit('subscribe', { channel: 'posts' })
socket.on('post', event => prepend(event.data))`,
  push: `// Browsers no longer accept pushes; Node's http2 does.
const client = http2.connect('https://localhost:8080')
client.on('stream', pushed => readJson(pushed).then(take))
client.request({ ':path': '/v1/push?channel=posts' }).resume()`,
  refresh: `<iframe src="/v1/refresh?channel=posts&every=5"></iframe>
<!-- no script at all -->`,
}

interface Post {
  readonly title: string
  readonly body: string
}

function postOf(data: unknown): Post {
  if (typeof data !== 'object' || data === null) return { title: String(data), body: '' }
  const { title = '', body = '' } = data as Partial<Post>
  return { title: String(title), body: String(body) }
}

export function Posts() {
  const [wire, setWire] = useState('sse')
  return (
    <>
      <h1>Posts</h1>
      <div class="row">
        <label>
          Wire
          <select value={wire} onChange={event => setWire(event.currentTarget.value)}>
            {Object.keys(WIRES).map(name => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
      </div>
      <div class="grid">
        <Write />
        <Panel title="Code">
          <pre tabIndex={0}>{CODE[wire]}</pre>
        </Panel>
        <Feed key={wire} wire={wire} />
      </div>
    </>
  )
}

function Write() {
  const [error, setError] = useState<unknown>()
  const write = async (event: Event) => {
    event.preventDefault()
    const form = event.currentTarget as HTMLFormElement
    try {
      await publish(CHANNEL, Object.fromEntries(new FormData(form)), 'post')
      form.reset()
      setError(undefined)
    } catch (error) {
      setError(error)
    }
  }
  return (
    <Panel title="Write a post">
      <form onSubmit={write}>
        <label>
          Title
          <input name="title" required maxLength={100} />
        </label>
        <label>
          Text
          <textarea name="body" rows={3} maxLength={2000} />
        </label>
        <button type="submit">Publish</button>
      </form>
      <Problem error={error} />
    </Panel>
  )
}

function Feed({ wire }: { wire: string }) {
  const [posts, setPosts] = useState<readonly FanwireEvent[]>([])
  const [state, setState] = useState('connecting')
  useEffect(() => {
    const abort = new AbortController()
    let all: readonly FanwireEvent[] = []
    const drawing = paced(() => setPosts(all))
    const sink: Sink = {
      cursor: 'earliest',
      event: event => {
        all = [event, ...all.filter(({ id }) => id !== event.id)].slice(0, SHOWN)
        drawing.soon()
      },
      gap: () => {},
      bytes: () => {},
      open: () => setState('open'),
    }
    const { signal } = abort
    const read = async () => WIRES[wire]?.({ channel: CHANNEL, sink, fault: 'none', signal })
    const ended = (error: unknown) => {
      setState(error === undefined ? 'reconnecting' : wordsOf(error))
      return true
    }
    void reconnect(read, { signal, delay: RECONNECT_MS, ended })
    return () => {
      abort.abort()
      drawing.stop()
    }
  }, [])
  return (
    <Panel title={`Feed over ${wire}`} wide>
      <p class="dim" role="status">
        {state}
      </p>
      {posts.length === 0 && <p class="dim">No posts yet: write one.</p>}
      <ol class="posts" reversed>
        {posts.map(({ id, time, data }) => {
          const { title, body } = postOf(data)
          return (
            <li key={id}>
              <h3>{title}</h3>
              <p>{body}</p>
              <time class="dim">{clock(time)}</time>
            </li>
          )
        })}
      </ol>
    </Panel>
  )
}
