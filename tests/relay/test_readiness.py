"""Readiness: asked often, probed seldom; no while stopping."""

import asyncio

from relay.probe import ProbeFailed
from relay.readiness import PROBE_EVERY_S, Readiness


class Scene:
    """A clock, and a probe that does what it is told."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.probes = 0
        self.problem: ProbeFailed | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.readiness = Readiness(self.probe, lambda: self.now_s)

    async def probe(self) -> float:
        self.probes += 1
        await self.gate.wait()
        if self.problem is not None:
            raise self.problem
        return 0.0123456


async def test_a_result_holds_for_a_while() -> None:
    """However often it is asked; then the next probe tells, in either direction."""
    scene = Scene()
    for _ in range(100):
        assert await scene.readiness.ask() == (200, {"status": "ready", "latency_ms": 12.346})
    assert scene.probes == 1
    scene.problem = ProbeFailed("store", "no answer")
    scene.now_s += PROBE_EVERY_S
    for _ in range(2):
        assert await scene.readiness.ask() == (503, {"status": "failing", "step": "store", "reason": "no answer"})
    scene.problem = None
    scene.now_s += PROBE_EVERY_S
    assert (await scene.readiness.ask())[0] == 200
    assert scene.probes == 3


async def test_many_who_ask_at_once_share_a_probe() -> None:
    """They wait for the one that is under way."""
    scene = Scene()
    scene.gate.clear()
    asking = [asyncio.create_task(scene.readiness.ask()) for _ in range(50)]
    await asyncio.sleep(0)
    scene.gate.set()
    assert {status for status, _ in await asyncio.gather(*asking)} == {200}
    assert scene.probes == 1


async def test_a_relay_that_stops_is_not_ready() -> None:
    """At once, without a probe, also for those who wait."""
    scene = Scene()
    scene.gate.clear()
    waiting = asyncio.create_task(scene.readiness.ask())
    await asyncio.sleep(0)
    scene.readiness.stopping()
    scene.gate.set()
    for answer in (await waiting, await scene.readiness.ask()):
        assert answer == (503, {"status": "stopping", "step": "stop", "reason": "relay is shutting down"})
    assert scene.probes == 1
