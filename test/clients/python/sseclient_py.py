"""`sseclient-py` over `requests`. It does not reconnect by itself: this loop does, with the last id."""

import time

import requests
import sseclient

from following import query, run


def follow(target, hear):
    headers = {"Accept": "text/event-stream"}
    retry = 1
    while True:
        try:
            response = requests.get(
                f"{target['url']}/v1/sse", params=query(target), headers=headers, stream=True, timeout=10
            )
            for event in sseclient.SSEClient(response).events():
                if event.id is not None:
                    headers["Last-Event-ID"] = event.id
                if event.retry is not None:
                    retry = int(event.retry) / 1000
                hear(event.event, event.data)
        except requests.RequestException:
            pass
        time.sleep(retry)


run(follow)
