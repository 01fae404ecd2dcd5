// The lines in the log about irreversible operations.

import t from 'tap'
import { audit } from '../../../services/http/audit.ts'
import { startApp } from './app.ts'

t.test('audit lines are written at every level of the log but silent', async t => {
  for (const level of ['debug', 'info', 'warn', 'error', 'fatal', 'silent']) {
    const { app, lines } = await startApp(t, {
      level,
      routes: inner =>
        inner.post('/v1/act', async request => {
          audit(request, 'erase', { channel: 'a' })
          return {}
        }),
    })
    await app.inject({ method: 'POST', url: '/v1/act' })
    const audited = lines.map(line => JSON.parse(line)).filter(line => line.audit)
    const expected = { level: 30, who: 'anybody', what: 'erase', target: { channel: 'a' } }
    t.match(audited, level === 'silent' ? [] : [expected], level)
    t.equal(audited.length, level === 'silent' ? 0 : 1, level)
  }
})
