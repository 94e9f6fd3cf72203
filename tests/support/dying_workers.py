"""Workers of the SDK that are killed by SIGKILL before or after each thing they say to Redis, one process each.

`python -m tests.support.dying_workers URL` lets one worker after another die, one step later each, until one survives;
each has one request of its own. Then a worker that lives looks after what they left. Prints one JSON object.
"""

import asyncio
import json
import os
import signal
import sys
from typing import Any

from redis import Redis as SyncRedis
from redis.asyncio.connection import AbstractConnection

from rmb_peer.local import keys
from rmb_peer.local.janitor import Janitor
from rmb_peer.local.redis_client import open_redis
from rmb_peer.sdk import Request, Service
from tests.support.requests import entry

LEASE_S = 600.0
STEPS_MAX = 40


def die_at(step: int, after: bool) -> None:
    """Kill this process when it sends to Redis for the `step`-th time."""
    send = AbstractConnection.send_packed_command
    sent = 0

    async def send_or_die(self: AbstractConnection, *arguments: Any, **options: Any) -> None:
        nonlocal sent
        sent += 1
        if sent == step and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        await send(self, *arguments, **options)
        if sent == step:
            os.kill(os.getpid(), signal.SIGKILL)

    AbstractConnection.send_packed_command = send_or_die  # type: ignore[method-assign]


async def work(url: str, commands: list[str], answers: int) -> None:
    """Serve until so many requests have been handled."""
    service = Service(url, lease_s=LEASE_S)
    left = answers

    async def handle(request: Request) -> str:
        nonlocal left
        left -= 1
        if left == 0:
            service.stop()
        return request.uid

    for command in commands:
        service.add(command, handle)
    await service.serve()


def main(url: str) -> None:
    redis = SyncRedis.from_url(url)
    commands: list[str] = []
    killed = 0
    for after in (False, True):
        for step in range(1, STEPS_MAX):
            command = f"{'after' if after else 'before'}.{step}"
            commands.append(command)
            redis.lpush(keys.command_list(command), entry(ref=command, cmd=command))
            child = os.fork()
            if child == 0:
                die_at(step, after)
                asyncio.run(work(url, [command], 1))
                os._exit(0)
            _, status = os.waitpid(child, 0)
            if not os.WIFSIGNALED(status):
                break
            killed += 1
    asyncio.run(clean_up(url, commands, redis))
    answers = [json.loads(raw)["ref"] for raw in redis.lrange(keys.LOCAL_REPLIES, 0, -1)]
    print(json.dumps({"killed": killed, "asked": commands, "answered": answers, "keys": left_over(redis)}))


async def clean_up(url: str, commands: list[str], redis: SyncRedis) -> None:
    """Let the heartbeats of the dead end, and serve what comes back."""
    for name in redis.scan_iter(keys.ALIVE_PREFIX + "*"):
        redis.delete(name)
    client = open_redis(url)
    await Janitor(client).sweep()
    waiting = sum(int(redis.llen(keys.command_list(command))) for command in commands)
    if waiting:
        await work(url, commands, waiting)
    await Janitor(client).sweep()
    await client.aclose()


def left_over(redis: SyncRedis) -> list[str]:
    """Keys that should be gone by now."""
    names = [name.decode() for name in redis.scan_iter("*")]
    return [name for name in names if name.startswith((keys.LEASE_PREFIX, keys.ALIVE_PREFIX, keys.LEASES, "msgbus.b"))]


if __name__ == "__main__":
    main(sys.argv[1])
