"""Runs one client: python CLIENT TARGETS. Prints every message that it receives as a line of JSON."""

import json
import sys
import threading

lock = threading.Lock()


def hear(target, type, data):
    line = json.dumps({"target": target, "type": type, "data": data})
    with lock:
        print(line, flush=True)


def run(follow):
    """Runs `follow(target, hear)`, which never returns, in a thread for each target."""
    for index, target in enumerate(json.loads(sys.argv[1])):
        threading.Thread(target=follow, args=(target, lambda *message, index=index: hear(index, *message))).start()


def query(target, **more):
    known = {"channel": target["channel"], "cursor": target.get("cursor")}
    return {name: value for name, value in {**known, **more}.items() if value is not None}
