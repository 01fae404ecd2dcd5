"""centrifuge-python as a program: see program.ts."""

import asyncio
import json
import sys

from centrifuge import CentrifugeError, Client, ClientEventHandler, SubscriptionEventHandler

ASKED = json.loads(sys.argv[1])
PROTOBUF = ASKED.get("protobuf", False)
DELAYS = {"min": 0.02, "max": 0.2}


def say(event, **more):
    print(json.dumps({"event": event, **more}), flush=True)


def encoded(data):
    return json.dumps(data).encode() if PROTOBUF else data


def decoded(data):
    return json.loads(data) if PROTOBUF else data


def next_token(tokens, channel):
    """Gives one token after another, and reports each request for one."""

    async def get(*_):
        say("token", channel=channel)
        return tokens.pop(0) if tokens else ""

    return get


class Events(ClientEventHandler):
    async def on_connecting(self, ctx):
        say("connecting", code=ctx.code)

    async def on_connected(self, ctx):
        say("connected")

    async def on_disconnected(self, ctx):
        say("disconnected", code=ctx.code)


class SubscriptionEvents(SubscriptionEventHandler):
    def __init__(self, channel):
        self.channel = channel

    async def on_subscribed(self, ctx):
        say("subscribed", channel=self.channel, wasRecovering=ctx.was_recovering, recovered=ctx.recovered)

    async def on_unsubscribed(self, ctx):
        say("unsubscribed", channel=self.channel, code=ctx.code)

    async def on_publication(self, ctx):
        say("publication", channel=self.channel, data=decoded(ctx.pub.data))

    async def on_join(self, ctx):
        say("join", channel=self.channel, user=ctx.info.user)

    async def on_leave(self, ctx):
        say("leave", channel=self.channel, user=ctx.info.user)


async def run(client, order):
    channel = order.get("channel", "")
    match order["do"]:
        case "connect":
            await client.connect()
        case "subscribe":
            tokens = order.get("tokens", [])
            token = {"token": tokens.pop(0), "get_token": next_token(tokens, channel)} if tokens else {}
            sub = client.new_subscription(
                channel,
                events=SubscriptionEvents(channel),
                positioned=True,
                recoverable=True,
                join_leave=order.get("joinLeave", False),
                min_resubscribe_delay=DELAYS["min"],
                max_resubscribe_delay=DELAYS["max"],
                **token,
            )
            await sub.subscribe()
        case "publish":
            await client.publish(channel, encoded(order["data"]))
        case "history":
            result = await client.history(channel, limit=100)
            return [decoded(each.data) for each in result.publications]
        case "presence":
            result = await client.presence(channel)
            return [info.user for info in result.clients.values()]


async def main():
    tokens = ASKED["tokens"]
    client = Client(
        ASKED["url"],
        events=Events(),
        token=tokens.pop(0),
        get_token=next_token(tokens, ""),
        use_protobuf=PROTOBUF,
        min_reconnect_delay=DELAYS["min"],
        max_reconnect_delay=DELAYS["max"],
        proxy=None,
    )
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        try:
            say("result", of=order["do"], value=await run(client, order))
        except CentrifugeError as error:
            say("error", of=order["do"], code=getattr(error, "code", 0), message=str(error))


asyncio.run(main())
