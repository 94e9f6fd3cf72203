"""How long answers stop when a relay fails: two gateways with the same two relays, all of them real processes.

    python -m tests.benchmarks.failover                    500 requests for each kind of failure
    python -m tests.benchmarks.failover --requests 2000 --json

Requests go out steadily, and the relay that carries them fails in their midst: told to stop (its clients hear 1001),
killed, or stopped in place, so that its connections stand and are silent. Every request has to be answered once; what
is reported is the longest time between two answers. Gateways stay with the relay that they moved to, so the two relays
fail in turn.
"""

import argparse
import asyncio
import json
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

from tests.benchmarks.bao import machine
from tests.support.programs import RelayProgram, Site, running, site

ORDERLY, KILLED, STOPPED = "told to stop (1001)", "killed (-9)", "stopped in place"
KINDS = (ORDERLY, KILLED, STOPPED)
PACE_S = 0.01
"""Between two requests."""

RETRY_S_MAX = 60.0


async def measure(
    folder: Path, requests: int, kinds: Sequence[str] = KINDS, pace_s: float = PACE_S
) -> dict[str, dict[str, float]]:
    """For each kind of failure the longest gap between two answers, before and after the failure, in seconds.

    Raises:
        AssertionError: a request was not answered, or more than once.
    """
    async with AsyncExitStack() as stack:
        second = RelayProgram(folder / "second")
        await stack.enter_async_context(running(second))
        flags = ("--registry", second.url.replace("ws://", "http://"))
        first = RelayProgram(folder / "first", *flags)
        await stack.enter_async_context(running(first))
        relays = [first.url, second.url]
        a, b = [await stack.enter_async_context(site(folder / name, relays, *flags)) for name in "ab"]
        b.serve("test.echo")
        report = {}
        for kind, failing in zip(kinds, cycle((first, second)), strict=False):
            await all_connected(a, relays)
            await all_connected(b, relays)
            report[kind] = await one_failure(a, b, failing, kind, requests, pace_s)
        return report


async def one_failure(
    a: Site, b: Site, failing: RelayProgram, kind: str, requests: int, pace_s: float
) -> dict[str, float]:
    """One failure in the midst of so many requests; afterwards the relay is there again."""
    at_s: list[float] = []
    answers: Counter[str] = Counter()
    failed_at_s = 0.0

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
        await collecting
    finally:
        collecting.cancel()
        if kind == STOPPED:
            os.kill(failing.pid, signal.SIGCONT)
        else:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    report: dict[str, Any] = {"machine": machine(), "requests": arguments.requests, "load_before": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(prefix="rmb-failover-") as folder:
        report["failures"] = asyncio.run(measure(Path(folder), arguments.requests))
    report["load_after"] = os.getloadavg()[0]
    if arguments.json:
        print(json.dumps(report, indent=1))
        return
    print(f"{report['machine']}; {report['requests']} requests for each failure, all answered once\n")
    print(f"{'the relay is':24}longest gap before    longest gap at and after the failure")
    for kind, row in report["failures"].items():
        print(f"{kind:24}{1000 * row['gap_before_s']:15.0f} ms{1000 * row['gap_s']:20.0f} ms")
    print(f"\nload {report['load_before']:.2f} before, {report['load_after']:.2f} after")


if __name__ == "__main__":
    main()
