"""`httpx-sse`. It does not reconnect by itself: this is the loop of its README, without the package `stamina`."""

import time

import httpx
from httpx_sse import connect_sse

from following import query, run


def follow(target, hear):
    last_event_id = ""
    reconnection_delay = 1.0
    with httpx.Client(timeout=10) as client:
        while True:
            headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
            try:
                with connect_sse(
                    client, "GET", f"{target['url']}/v1/sse", params=query(target), headers=headers
                ) as event_source:
                    for sse in event_source.iter_sse():
                        last_event_id = sse.id
                        if sse.retry is not None:
                            reconnection_delay = sse.retry / 1000
                        hear(sse.event, sse.data)
            except httpx.TransportError:
                pass
            time.sleep(reconnection_delay)


run(follow)
