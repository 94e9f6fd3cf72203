"""Requests as a gateway pushes them for services, and what services answer."""

import base64
import json
import time
from typing import Any

from redis.asyncio import Redis

NOW_S = int(time.time())
"""One instant for all requests of a run, so that two that are made alike are equal."""


def entry(payload: bytes = b"", **fields: Any) -> bytes:
    """An incoming request of spec rmb 5.3, with some fields changed."""
    made = {
        "ver": 1, "ref": "u-1", "src": "7:web", "cmd": "x", "exp": 600, "dat": base64.b64encode(payload).decode(),
        "tag": None, "ret": "msgbus.system.reply", "shm": "application/json", "now": NOW_S,
    }  # fmt: skip
    return json.dumps(made | fields).encode()


async def answered(redis: Redis, patience_s: int = 60) -> dict[str, Any]:
    """The oldest answer, waiting for it."""
    popped = await redis.brpop(["msgbus.system.reply"], patience_s)
    assert popped is not None, "no answer"
    return dict(json.loads(popped[1]))


def value(answer: dict[str, Any]) -> Any:
    """The JSON value of an answer that is no error."""
    assert answer["err"] is None, answer["err"]
    return json.loads(base64.b64decode(answer["dat"]))
