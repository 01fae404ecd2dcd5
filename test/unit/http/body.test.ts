import t from 'tap'
import { takeBodies, wholeBody } from '../../../services/http/body.ts'
import { RAW_HOST } from '../../contract/node.ts'
import { listen, Raw, startApp } from './app.ts'

const TIMES = { idle: 5000, total: 5000 }

/** Starts a node with a route that answers with the body and the number of its listeners. Returns its port. */
async function start(t: Parameters<typeof startApp>[0]): Promise<number> {
  const { app } = await startApp(t, {
    routes(inner) {
      takeBodies(inner)
      inner.post('/body', async request => {
        const body = await wholeBody(request, 8, 'too large', TIMES)
        return `listeners ${request.raw.listenerCount('readable')}, body ${body.toString()}.`
      })
    },
  })
  return listen(app)
}

function head(length: string): string {
  return `POST /body HTTP/1.1\r\nHost: ${RAW_HOST}\r\nContent-Type: text/plain\r\n${length}\r\n\r\n`
}

t.test('a body that arrives with its head needs no listener', async t => {
  const port = await start(t)
  for (const [sent, answer] of [
    [`${head('Content-Length: 3')}abc`, 'listeners 0, body abc.'],
    [head('Content-Length: 0'), 'listeners 0, body .'],
    [`${head('Transfer-Encoding: chunked')}2\r\nab\r\n1\r\nc\r\n0\r\n\r\n`, 'listeners 0, body abc.'],
    [`${head('Content-Length: 9')}abcdefghi`, '"FW_TOO_LARGE"'],
    [`${head('Transfer-Encoding: chunked')}9\r\nabcdefghi\r\n0\r\n\r\n`, '"FW_TOO_LARGE"'],
  ] as const) {
    const raw = new Raw(port).send(sent)
    t.match(await raw.until(/body .*\.|FW_\w+/), answer)
    // The connection continues.
    raw.send(`${head('Content-Length: 2')}ok`)
    t.match(await raw.until(/body ok\./), 'listeners 0, body ok.')
    raw.close()
  }
})

t.test('a body that arrives after its head is awaited', async t => {
  const port = await start(t)
  const raw = new Raw(port).send(`${head('Content-Length: 4\r\nExpect: 100-continue')}`)
  await raw.until(/100 Continue/)
  raw.send('ab')
  await new Promise(setImmediate)
  raw.send('cd')
  t.match(await raw.until(/body .*\./), 'listeners 1, body abcd.')
  raw.close()
})
