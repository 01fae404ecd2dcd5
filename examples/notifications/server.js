// An Express app that notifies its users: it publishes to a channel per user, and forwards a user's channel to their pages.

import { request } from 'node:http'
import express from 'express'

const FANWIRE = process.env.FANWIRE_URL ?? 'http://127.0.0.1:8080'
const KEY = process.env.FANWIRE_PUBLISH_KEY
const PORT = Number(process.env.PORT ?? 3000)

const app = express()
app.use(express.json())

/** The user of a request. A real app reads its session here. */
function userOf(req) {
  const { user } = req.query
  return typeof user === 'string' && /^[a-z0-9]{1,50}$/.test(user) ? user : undefined
}

app.get('/', (_req, res) => res.sendFile('index.html', { root: import.meta.dirname }))

app.post('/notify/:user', async (req, res) => {
  const response = await fetch(`${FANWIRE}/v1/channels/user:${encodeURIComponent(req.params.user)}/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(KEY ? { authorization: `Bearer ${KEY}` } : {}) },
    body: JSON.stringify(req.body),
  })
  res.status(response.status).json(await response.json())
})

app.get('/notifications', (req, res) => {
  const user = userOf(req)
  if (user === undefined) return res.sendStatus(401)
  const lastEventId = req.get('last-event-id')
  const headers = lastEventId === undefined ? {} : { 'last-event-id': lastEventId }
  const upstream = request(`${FANWIRE}/v1/sse?channel=user:${user}`, { headers }, stream => {
    res.writeHead(stream.statusCode, {
      'content-type': stream.headers['content-type'],
      'cache-control': 'no-store, no-transform',
      'x-accel-buffering': 'no',
    })
    res.flushHeaders()
    stream.pipe(res)
    // A node that stops or dies omits the last chunk; so does the app, and EventSource reconnects.
    stream.on('error', () => res.destroy())
  })
  // 200 with a retry delay, because EventSource gives up for good on any other status.
  upstream.on('error', () => {
    if (res.headersSent) res.destroy()
    else res.type('text/event-stream').send('retry: 3000\n\n')
  })
  res.on('close', () => upstream.destroy())
  upstream.end()
})

app.listen(PORT, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${PORT}`))
