"""A client: asks a twin through the gateway on this Redis and prints the answer. Needs only the package `redis`.

    python client.py HOST:PORT TWIN COMMAND [DATA]

Exit code: 0 answered, 1 error answer, 2 wrong usage, 3 no answer within 30 seconds.
"""

import base64
import json
import sys
import uuid

import redis

LIFETIME_S = 30


def main(arguments: list[str]) -> int:
    if len(arguments) not in (3, 4):
        print("usage: python client.py HOST:PORT TWIN COMMAND [DATA]", file=sys.stderr)
        return 2
    host, port = arguments[0].rsplit(":", 1)
    data = arguments[3].encode() if len(arguments) == 4 else b""
    answers = f"answers.{uuid.uuid4()}"  # nobody else waits on this list
    request = {
        "ver": 1,
        "cmd": arguments[2],
        "exp": LIFETIME_S,
        "dat": base64.b64encode(data).decode(),
        "dst": [int(arguments[1])],
        "ret": answers,
        "shm": "application/json",
        "now": 0,  # the gateway's clock
    }
    with redis.Redis(host, int(port), socket_timeout=2 * LIFETIME_S) as store:
        store.lpush("msgbus.system.local", json.dumps(request))
        popped = store.blpop([answers], LIFETIME_S)
        store.delete(answers)
    if popped is None:
        print(f"no answer within {LIFETIME_S} s", file=sys.stderr)
        return 3
    answer = json.loads(popped[1])
    if answer["err"]:
        print(f"error {answer['err']['code']}: {answer['err']['message']}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(base64.b64decode(answer["dat"]))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (redis.RedisError, ValueError) as error:
        sys.exit(f"client.py: {error}")
