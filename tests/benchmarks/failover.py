"""How long answers stop when a relay fails: two gateways with the same two relays, all of them real processes.

    python -m tests.benchmarks --parts failover

Requests go out steadily, and the relay that carries them fails in their midst: told to stop (its clients hear 1001),
killed, or stopped in place, so that its connections stand and are silent. Every request has to be answered once; what
is reported is the longest time between two answers. Gateways stay with the relay that they moved to, so the two relays
fail in turn.
"""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle, pairwise
from pathlib import Path

from tests.support.programs import RelayProgram, Site, running, site

ORDERLY, KILLED, STOPPED = "told to stop (1001)", "killed (-9)", "stopped in place"
KINDS = (ORDERLY, KILLED, STOPPED)
PACE_S = 0.01
"""Between two requests."""

RETRY_S_MAX = 60.0

STRANDED_S = 10.0
"""After so long what is missing is taken to wait in the store of the relay that failed, and the relay is started."""


class Pair:
    """Two gateways with the same two relays, which fail in turn, since gateways stay with the one they moved to."""

    def __init__(self, a: Site, b: Site, second: RelayProgram, first: RelayProgram) -> None:
        self._sites = a, b
        self._relays = [first.url, second.url]
        self._failing = cycle((first, second))

    async def fail(self, kind: str, requests: int, pace_s: float) -> dict[str, float]:
        """One failure in the midst of so many requests; the longest gap between two answers before and after it, in
        seconds.

        Raises:
            AssertionError: a request was not answered, or more than once.
        """
        a, b = self._sites
        await all_connected(a, self._relays)
        await all_connected(b, self._relays)
        return await one_failure(a, b, next(self._failing), kind, requests, pace_s)


@asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[Pair]:
    """Start all of it; it ends with the context."""
    async with AsyncExitStack() as stack:
        second = RelayProgram(folder / "second")
        await stack.enter_async_context(running(second))
        flags = ("--registry", second.url.replace("ws://", "http://"))
        first = RelayProgram(folder / "first", *flags)
        await stack.enter_async_context(running(first))
        relays = [first.url, second.url]
        a, b = [await stack.enter_async_context(site(folder / name, relays, *flags)) for name in "ab"]
        b.serve("test.echo")
        yield Pair(a, b, second, first)


async def measure(
    folder: Path, requests: int, kinds: Sequence[str] = KINDS, pace_s: float = PACE_S
) -> dict[str, dict[str, float]]:
    """For each kind of failure what `Pair.fail` finds."""
    async with pair(folder) as both:
        return {kind: await both.fail(kind, requests, pace_s) for kind in kinds}


async def one_failure(
    a: Site, b: Site, failing: RelayProgram, kind: str, requests: int, pace_s: float
) -> dict[str, float]:
    """One failure in the midst of so many requests; afterwards the relay is there again."""
    at_s: list[float] = []
    answers: Counter[str] = Counter()
    failed_at_s = 0.0
    started = False

    async def collect() -> None:
        while len(answers) < requests:
            answer = await a.pop(timeout_s=RETRY_S_MAX)
            assert answer["err"] is None, answer
            answers[str(answer["ref"])] += 1
            at_s.append(time.monotonic())

    collecting = asyncio.create_task(collect())
    try:
        for number in range(requests):
            if number == requests // 2:
                failed_at_s = time.monotonic()
                await fail(failing, kind)
            await a.push(b.twin, ref=str(number), exp=300)
            await asyncio.sleep(pace_s)
        finished, _ = await asyncio.wait({collecting}, timeout=STRANDED_S)
        if not finished and kind != STOPPED:
            await failing.ended()
            await failing.start()
            started = True
        await collecting
    finally:
        collecting.cancel()
        if kind == STOPPED:
            os.kill(failing.pid, signal.SIGCONT)
        elif not started:
            await failing.ended()
            await failing.start()
    await a.push(b.twin, ref="last")
    while (last := await a.pop())["ref"] != "last":
        answers[str(last["ref"])] += 1
    assert set(answers.values()) == {1}, answers
    assert len(answers) == requests
    gaps = [(later - earlier, later > failed_at_s) for earlier, later in pairwise(at_s)]
    return {
        "gap_before_s": round(max((gap for gap, after in gaps if not after), default=0.0), 3),
        "gap_s": round(max((gap for gap, after in gaps if after), default=0.0), 3),
    }


async def fail(relay: RelayProgram, kind: str) -> None:
    """Let it fail; returns at once."""
    os.kill(relay.pid, {ORDERLY: signal.SIGTERM, KILLED: signal.SIGKILL, STOPPED: signal.SIGSTOP}[kind])


async def all_connected(place: Site, relays: Sequence[str]) -> None:
    """Wait until a gateway is connected to all its relays, and all of them answer."""
    events = place.gateway.events

    def connected(url: str) -> bool:
        lines = [line for line in events if line.get("relay") == url]
        return bool(lines) and lines[-1].get("event") in ("now connected", "relay answers again")

    async with asyncio.timeout(RETRY_S_MAX):
        while not all(map(connected, relays)):
            await asyncio.sleep(0.05)
