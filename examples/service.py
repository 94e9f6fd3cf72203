"""A service: answers requests for `upper` with their text in capitals. Needs only the package `redis`.

    python service.py HOST:PORT

The payload and the answer are JSON texts. Ctrl-C ends it.
"""

import base64
import json
import sys
import time

import redis


def answer_to(request: dict[str, str]) -> dict[str, object]:
    """The answer: `ref` and `src` of the request come back as `ref` and `dst`."""
    answer: dict[str, object] = {
        "ver": 1,
        "ref": request["ref"],
        "dat": "",
        "dst": request["src"],
        "shm": "application/json",
        "now": int(time.time()),
        "err": None,
    }
    try:
        text = json.loads(base64.b64decode(request["dat"]))
        answer["dat"] = base64.b64encode(json.dumps(text.upper()).encode()).decode()
    except (ValueError, AttributeError):
        answer["err"] = {"code": 400, "message": "send a JSON text"}
    return answer


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python service.py HOST:PORT", file=sys.stderr)
        return 2
    host, port = arguments[0].rsplit(":", 1)
    with redis.Redis(host, int(port), socket_timeout=30) as store:
        while True:
            popped = store.brpop(["msgbus.upper"], 10)  # the gateway pushes left: popping right is first in, first out
            if popped is not None:
                request = json.loads(popped[1])
                store.lpush(request["ret"], json.dumps(answer_to(request)))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(0)
