"""A gateway by script: takes requests from a real Redis as spec rmb 5 says, and pushes the answers a test wants."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis

Script = Callable[[dict[str, Any]], list[bytes | dict[str, Any]]]
"""From a request to what is pushed on its `ret`, in order."""


def response(request: dict[str, Any], source: str = "7", **fields: Any) -> dict[str, Any]:
    """An incoming response (spec rmb 5.4) that returns the request's payload, with some fields changed."""
    made = {
        "ver": 1,
        "ref": request.get("ref"),
        "dat": request["dat"],
        "src": source,
        "shm": None,
        "now": 1,
        "err": None,
    }
    return made | fields


@asynccontextmanager
async def scripted_gateway(redis: Redis, script: Script) -> AsyncIterator[list[dict[str, Any]]]:
    """Answer requests by `script` until the end. Yields the list of requests seen.

    `redis` must have no socket timeout: on Python 3.11 its way of limiting a read can lose the cancellation at the end.
    """
    seen: list[dict[str, Any]] = []

    async def answer() -> None:
        while True:
            popped = await redis.brpop(["msgbus.system.local"], timeout=0)
            assert popped is not None
            request = json.loads(popped[1])
            seen.append(request)
            for entry in script(request):
                await redis.lpush(
                    request["ret"], entry if isinstance(entry, bytes) else json.dumps(entry, separators=(",", ":"))
                )

    task = asyncio.create_task(answer())
    try:
        yield seen
    finally:
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(outcome, Exception):
            raise outcome
