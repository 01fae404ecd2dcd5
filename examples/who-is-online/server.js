// An Express app with a chat: issues tokens, approves each message in a hook, receives joins and leaves, and publishes.

import { spawn } from 'node:child_process'
import { createHash, createHmac, randomBytes } from 'node:crypto'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import express from 'express'
import { Webhook } from 'standardwebhooks'

const PORT = Number(process.env.PORT ?? 3000)
const NODE_PORT = Number(process.env.NODE_PORT ?? 8080)
const NODE = `http://127.0.0.1:${NODE_PORT}`
const ROOM = 'room:lobby'

const tokenSecret = randomBytes(32)
const hookSecret = `whsec_${randomBytes(32).toString('base64')}`
const apiKey = randomBytes(32).toString('base64url')

// The node's configuration: rules, the key for tokens, and the hash of the app's API key.
const folder = mkdtempSync(join(tmpdir(), 'who-is-online-'))
const write = (name, value) => {
  const path = join(folder, name)
  writeFileSync(path, JSON.stringify(value), { mode: 0o600 })
  return path
}
const settings = {
  PORT: `${NODE_PORT}`,
  FANWIRE_RULES: write('rules.json', {
    channels: [{ match: 'room:*', subscribe: 'user', publish: 'hook', presence: true }],
    hooks: {
      publish: { url: `http://127.0.0.1:${PORT}/fanwire/ask`, secrets: [hookSecret], timeout: '5s' },
    },
    webhooks: [
      { url: `http://127.0.0.1:${PORT}/fanwire/webhook`, secrets: [hookSecret], events: ['presence.*'] },
    ],
  }),
  FANWIRE_JWT_KEYS_FILE: write('tokens.json', {
    keys: [{ kty: 'oct', alg: 'HS256', kid: '1', k: tokenSecret.toString('base64url') }],
  }),
  FANWIRE_KEYS_FILE: write('keys.json', [
    {
      id: 'app',
      sha256: createHash('sha256').update(apiKey).digest('hex'),
      allow: ['publish'],
      channels: ['*'],
    },
  ]),
}

function tokenFor(user) {
  const encode = value => Buffer.from(JSON.stringify(value)).toString('base64url')
  const exp = Math.floor(Date.now() / 1000) + 3600
  const signed = `${encode({ alg: 'HS256', kid: '1' })}.${encode({ sub: user, exp, info: { name: user } })}`
  return `${signed}.${createHmac('sha256', tokenSecret).update(signed).digest('base64url')}`
}

/** The user of a request. A real app reads its session here. */
function userOf({ query: { user } }) {
  return typeof user === 'string' && /^[a-z0-9]{1,50}$/.test(user) ? user : undefined
}

const app = express()

app.get('/', (_request, response) => response.sendFile('index.html', { root: import.meta.dirname }))

app.get('/session', (request, response) => {
  const user = userOf(request)
  if (user === undefined) return response.sendStatus(401)
  response.json({ user, token: tokenFor(user), node: NODE, room: ROOM })
})

app.post('/announce', async (request, response) => {
  const answer = await fetch(`${NODE}/v1/channels/${ROOM}/events`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ from: 'the app', text: String(request.query.text) }),
  })
  response.status(answer.status).json(await answer.json())
})

// Hook requests and webhooks of the node are signed.
const webhook = new Webhook(hookSecret)
app.use('/fanwire', express.text({ type: 'application/json' }), (request, response, next) => {
  try {
    request.body = webhook.verify(request.body, request.headers)
    next()
  } catch {
    response.sendStatus(401)
  }
})

app.post('/fanwire/ask', ({ body: { user, data } }, response) => {
  if (user === '') return response.json({ error: { code: 4100, message: 'log in first' } })
  const text = String(data?.text ?? '')
  if (/[A-Z]{5}/.test(text)) return response.json({ error: { code: 4200, message: 'do not shout' } })
  response.json({ result: { data: { from: user, text } } })
})

/** Users by channel. A duplicate event changes nothing. */
const online = new Map()

app.post('/fanwire/webhook', ({ body: { events } }, response) => {
  for (const { type, data } of events) {
    const users = online.get(data.channel) ?? new Set()
    online.set(data.channel, users)
    if (type === 'presence.joined') users.add(data.user)
    if (type === 'presence.left') users.delete(data.user)
  }
  response.end()
})

app.get('/online', (_request, response) => {
  response.json(Object.fromEntries([...online].map(([channel, users]) => [channel, [...users].sort()])))
})

app.listen(PORT, '127.0.0.1', () => {
  const [command, ...args] = (process.env.FANWIRE ?? 'npx fanwire').split(' ')
  const { PATH, HOME } = process.env
  const node = spawn(command, args, {
    env: { PATH, HOME, ...settings },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  node.stdout.on('data', data => {
    if (String(data).includes('listening on')) console.log(`listening on http://127.0.0.1:${PORT}/?user=ada`)
  })
  node.once('exit', code => process.exit(code ?? 1))
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => node.kill('SIGTERM'))
})
