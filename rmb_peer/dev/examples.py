"""Ready-to-paste examples for a running network. Pure. The tests run each of them.

Each waits on a list of its own, so that they can be pasted in any order.
"""

import base64
import json
import shlex
import sys
from urllib.parse import urlsplit

PAYLOAD = b"hello"
LIFETIME_S = 30
WAIT_S = 10
_PYTHON = shlex.quote(sys.executable)


def examples(redis_url: str, twin: int, command: str) -> dict[str, str]:
    """Shell commands by the name of the tool they need.

    Args:
        redis_url: `redis://host:port` of the side that asks.
        twin: who is asked.
        command: what is asked.
    """
    parts = urlsplit(redis_url)
    host, port = str(parts.hostname), int(parts.port or 6379)
    return {
        "rmb-peer": f"{_PYTHON} -m rmb_peer call {twin} {command} {PAYLOAD.decode()} --redis {redis_url}",
        "redis-cli": _redis_cli(host, port, twin, command),
        "python": _python(host, port, twin, command),
        "bash": _bash(host, port, twin, command),
    }


def _request(twin: int, command: str, reply_list: str) -> dict[str, object]:
    return {
        "ver": 1, "cmd": command, "exp": LIFETIME_S, "dat": base64.b64encode(PAYLOAD).decode(), "dst": [twin],
        "ret": reply_list, "now": 0,
    }  # fmt: skip


def _redis_cli(host: str, port: int, twin: int, command: str) -> str:
    request = json.dumps(_request(twin, command, "answers.cli"))
    cli = f"redis-cli -h {host} -p {port}"
    return f"{cli} LPUSH msgbus.system.local '{request}'\n{cli} BLPOP answers.cli {WAIT_S}"


def _python(host: str, port: int, twin: int, command: str) -> str:
    request = _request(twin, command, "answers.python")
    return f"""{_PYTHON} - <<'END'
import base64, json, redis
r = redis.Redis("{host}", {port}, socket_timeout={2 * WAIT_S})
r.lpush("msgbus.system.local", json.dumps({json.dumps(request)}))
_, answer = r.blpop("answers.python", {WAIT_S})
print(base64.b64decode(json.loads(answer)["dat"]).decode())
END"""


def _bash(host: str, port: int, twin: int, command: str) -> str:
    request = json.dumps(_request(twin, command, "answers.bash")).replace('"', r"\"")  # quoted for Redis' inline form
    return rf"""exec 3<>/dev/tcp/{host}/{port}
printf '%s\r\n' 'LPUSH msgbus.system.local "{request}"' 'BLPOP answers.bash {WAIT_S}' >&3
head -n 6 <&3 | tail -n 1 | sed 's/.*"dat":"\([^"]*\)".*/\1/' | base64 -d; echo; exec 3>&-"""
