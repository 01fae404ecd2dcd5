// POST /v1/admin/explain explains in words what allows or denies a right, and why an event did or did not reach a user.

import type { FastifyPluginAsync } from 'fastify'
import { type Access, CredentialsRefused } from '../broker/access/access.ts'
import { RIGHTS, type Right, rightsOf } from '../broker/access/grants.ts'
import { ANONYMOUS, type Identity } from '../broker/access/identity.ts'
import { type Decision, placeOf } from '../broker/access/may.ts'
import { FanwireError } from '../errors.ts'
import { requirePublishOrigin, requireRight } from '../http/auth.ts'
import { jsonMembers, type Members } from '../http/json-members.ts'
import { NO_PARAMETERS } from '../http/operation.ts'
import { checkedQuery } from '../http/query.ts'
import { checkedAnyChannel, checkedText, checkedUser } from './checks.ts'
import { explainDelivery } from './delivery.ts'
import { EXPLAIN, EXPLAIN_BODY } from './schemas.ts'

type Asked = Members<typeof EXPLAIN_BODY>

interface Explanation {
  readonly allowed: boolean
  readonly why: string
  /** The rule that applies to the channel. */
  readonly rule: { readonly match: string; readonly line: number } | null
  /** The grant that decided. */
  readonly grant: {
    readonly origin: string
    readonly channels: readonly string[]
    readonly allow: readonly Right[]
  } | null
  /** The hook that decides. */
  readonly hook: { readonly url: string } | null
}

function explanationOf({ allowed, explanation, rule, grant, hook }: Decision, also = ''): Explanation {
  return {
    allowed,
    why: explanation + also,
    rule: rule === undefined ? null : { match: rule.match, line: rule.line },
    grant:
      grant === undefined ? null : { origin: grant.origin, channels: grant.channels, allow: rightsOf(grant) },
    hook: hook === undefined ? null : { url: placeOf(hook) },
  }
}

function checkedRight(value: unknown): Right {
  const right = RIGHTS.find(each => each === value)
  if (right !== undefined) return right
  throw new FanwireError('FW_BAD_PARAMETER', `right is one of ${RIGHTS.join(', ')}`)
}

/** The identity of a user of whom only the name is known, without grants. */
function bareUser(user: string): Identity {
  return user === '' ? ANONYMOUS : { ...ANONYMOUS, kind: 'token', user }
}

async function explainRight(access: Access, { token, user, right, channel }: Asked): Promise<Explanation> {
  if ((token === undefined) === (user === undefined)) {
    throw new FanwireError('FW_BAD_PARAMETER', 'send either a token or a user')
  }
  const asked = checkedRight(right)
  // Only admin is a right on the whole node.
  const place = channel === undefined && asked === 'admin' ? undefined : checkedAnyChannel(channel)
  if (token === undefined) {
    const name = checkedUser('user', user)
    const decision = access.may(bareUser(name), asked, place)
    const unknown =
      decision.allowed || name === '' ? '' : "; the grants of the user's own token are unknown here"
    return explanationOf(decision, unknown)
  }
  try {
    const identity = await access.credentials({ token: checkedText('token', token) })
    return explanationOf(access.may(identity, asked, place))
  } catch (error) {
    if (!(error instanceof CredentialsRefused)) throw error
    return {
      allowed: false,
      why: `the token is not accepted: ${error.message}`,
      rule: null,
      grant: null,
      hook: null,
    }
  }
}

export const explain: FastifyPluginAsync = async app => {
  const { access } = app.fanwire
  app.addHook('onRequest', async request => requirePublishOrigin(request))
  app.post(
    '/v1/admin/explain',
    { schema: EXPLAIN, onRequest: requireRight('admin') },
    async (request, reply) => {
      checkedQuery(request, NO_PARAMETERS)
      const asked: Asked = await jsonMembers(request, EXPLAIN_BODY)
      reply.header('cache-control', 'no-store')
      if (asked.id === undefined) return explainRight(access, asked)
      const { token, right, user, channel, id } = asked
      if (token !== undefined || right !== undefined) {
        throw new FanwireError('FW_BAD_PARAMETER', 'to explain an event, send only user, channel and id')
      }
      return explainDelivery(app.fanwire, {
        user: checkedUser('user', user),
        channel: checkedAnyChannel(channel),
        id: checkedText('id', id),
      })
    },
  )
}
