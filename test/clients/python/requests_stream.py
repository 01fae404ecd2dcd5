"""`requests` alone, over /v1/stream: a loop that keeps the cursor and reconnects with it."""

import json
import time

import requests

from following import query, run


def follow(target, hear):
    parameters = query(target)
    while True:
        try:
            with requests.get(f"{target['url']}/v1/stream", params=parameters, stream=True, timeout=10) as response:
                response.raise_for_status()
                for line in response.iter_lines():
                    if not line:
                        continue
                    message = json.loads(line)
                    if "open" in message:
                        parameters["cursor"] = message["open"]["cursor"]
                    elif "gap" in message:
                        parameters["cursor"] = message["gap"]["to"]
                        hear("gap", line.decode())
                    elif "id" in message:
                        parameters["cursor"] = message["id"]
                        hear(message.get("type", "message"), line.decode())
        except requests.RequestException:
            pass
        time.sleep(0.5)


run(follow)
