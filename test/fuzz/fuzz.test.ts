// A short run of `npm run fuzz` with the same inputs each time.

import t from 'tap'
import { runFuzz } from './run.ts'

t.test('2,000 almost valid inputs: coded answers, no crash, no secret in the log', async t => {
  const { wrong, lines, answers } = await runFuzz({
    seed: 20261126,
    inputs: 2000,
    built: false,
    say: text => t.comment(text),
  })
  t.strictSame(wrong, [])
  t.ok(lines > 500, 'the node logged its work')
  for (const kind of [
    'token: 401',
    'header: ',
    'url: 200',
    'body: 201',
    'ws: FW_',
    'socket.io: ',
    'centrifuge: FW_',
    'protobuf: ',
    'pusher: FW_',
    'pusher api: 200',
    'durable streams: 201',
    'mercure: 200',
    'rules: bad',
  ]) {
    t.ok(
      [...answers.keys()].some(name => name.startsWith(kind)),
      kind,
    )
  }
})
