// An application that receives webhooks, as a process that may be killed at any time: it writes events to a file before
// it acknowledges them. `receiver.ts <port> <file> <secret>`

import { appendFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { Webhook } from 'standardwebhooks'

const [port, file = '', secret = ''] = process.argv.slice(2)
const webhook = new Webhook(secret)

createServer(async (request, response) => {
  const pieces: Buffer[] = []
  for await (const piece of request) pieces.push(piece)
  try {
    const headers = request.headers as Record<string, string>
    const { events } = webhook.verify(Buffer.concat(pieces).toString(), headers) as { events: object[] }
    appendFileSync(file, events.map(event => `${JSON.stringify(event)}\n`).join(''))
    response.end()
  } catch (error) {
    appendFileSync(file, `${JSON.stringify({ wrong: String(error) })}\n`)
    response.writeHead(400).end()
  }
}).listen(Number(port), '127.0.0.1', () => process.stdout.write('listening\n'))
