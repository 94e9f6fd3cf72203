"""What a call of the store costs the gateway's process: our connection (`rmb_peer.store`) against redis-py.

    python -m tests.benchmarks.store_wire [--rounds N] [--calls N]

The same `RedisQueues` in one process, with the same commands to the same Valkey; only the connection differs. They take
turns; the figure is processor time of this process for each call, the median of all rounds, in microseconds.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from redis.asyncio import Redis

from rmb_peer.embedded.valkey import EmbeddedValkey
from rmb_peer.local.queues import Delivery, Waiting
from rmb_peer.local.redis_queues import ANSWER_S_MAX, RedisQueues, connect
from rmb_peer.store.address import Command
from rmb_peer.store.script import Script

VALUE = b"x" * 300
"""About what an answer with 100 bytes of payload has as JSON."""


class ThroughRedisPy:
    """The calls of `StoreClient` that are measured, through redis-py as the gateway used it before."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis

    async def run(self, script: Script, arguments: Command, large: bool = False) -> Any:
        async with asyncio.timeout(ANSWER_S_MAX):
            return await self._redis.execute_command(*script.words, *arguments)

    async def close(self) -> None:
        """Nothing of its own to release."""


class Calls:
    """What is measured; marks and uids differ from call to call."""

    def __init__(self, queues: RedisQueues) -> None:
        self._queues = queues
        self._number = 0

    async def deliver(self, count: int) -> None:
        """One `deliver` of some values."""
        self._number += 1
        deliveries = [Delivery(f"list{n}", VALUE, (f"{os.getpid()}:{self._number}:{n}",), 5) for n in range(count)]
        await self._queues.deliver(deliveries)

    async def remember(self, count: int) -> None:
        """One `remember` of some requests."""
        self._number += 1
        waiting = [Waiting(f"{self._number}:{n}", "reference", "ret", 60, (7,), 1500, "1-0") for n in range(count)]
        await self._queues.remember(waiting)


async def cpu_us(call: Callable[[], Awaitable[None]], calls: int, at_once: int) -> float:
    """Processor time of this process for a call, with some calls under way at once."""

    async def one_after_another() -> None:
        for _ in range(calls // at_once):
            await call()

    begin_s = time.process_time()
    await asyncio.gather(*(one_after_another() for _ in range(at_once)))
    return (time.process_time() - begin_s) * 1e6 / (calls // at_once * at_once)


async def measure(rounds: int, calls: int, folder: Path) -> list[tuple[str, dict[str, float]]]:
    """Name of each case, and the figures of both ways."""
    server = await EmbeddedValkey.start(folder)
    ours = RedisQueues(await connect(server.url), random_bytes=os.urandom)
    redis = await connect(server.url)
    theirs = RedisQueues(redis, random_bytes=os.urandom)
    theirs._store = ThroughRedisPy(redis)  # type: ignore[assignment]  # of its methods only `run` is used here
    await ours.deliver([Delivery("list", b"", (), 1)])  # loads the scripts for both
    await ours.remember([Waiting("0", None, "ret", 60, (7,), 1500, "1-0")])
    ways = {"redis-py": Calls(theirs), "wire": Calls(ours)}
    cases: Sequence[tuple[str, int, Callable[[Calls], Awaitable[None]]]] = (
        ("deliver of 1, one call at a time", 1, lambda to: to.deliver(1)),
        ("deliver of 1, 8 calls at once", 8, lambda to: to.deliver(1)),
        ("deliver of 32, one call at a time", 1, lambda to: to.deliver(32)),
        ("remember of 1, one call at a time", 1, lambda to: to.remember(1)),
    )
    found = []
    try:
        for name, at_once, call in cases:
            seen: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(rounds):
                for way, to in ways.items():
                    seen[way].append(await cpu_us(lambda call=call, to=to: call(to), calls, at_once))  # type: ignore[misc]
            found.append((name, {way: median(values) for way, values in seen.items()}))
            await ours._store.call(("FLUSHDB",))
    finally:
        await ours.close()
        await theirs.close()
        await server.stop()
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=300, help="in each round")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(chosen.rounds, chosen.calls, Path(folder)))
    print("| CPU of the process, us for each call | redis-py | wire | ratio |\n|---|---:|---:|---:|")
    for name, figures in found:
        before, after = figures["redis-py"], figures["wire"]
        print(f"| {name} | {before:.0f} | {after:.0f} | {after / before:.2f} |")


if __name__ == "__main__":
    main()
