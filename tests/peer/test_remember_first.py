"""Messages are made ready while the store writes down who waits, and nothing happens to them before it has."""

import asyncio
import os
import time
from collections.abc import Sequence

import pytest

from rmb_peer import upstream
from rmb_peer.local.memory_queues import MemoryQueues
from rmb_peer.local.queues import Waiting
from rmb_peer.registry.memory import MemoryRegistry
from rmb_peer.sender import Hold
from tests.support.gateways import running_node
from tests.support.scripted_relay import scripted_relay


class SlowStore(MemoryQueues):
    """Writes down who waits when it is told to."""

    def __init__(self) -> None:
        super().__init__(now=time.monotonic, random_bytes=os.urandom)
        self.asked = asyncio.Event()
        self.may = asyncio.Event()

    async def remember(self, waiting: Sequence[Waiting]) -> None:
        self.asked.set()
        await self.may.wait()
        await super().remember(waiting)


async def turns(count: int = 50) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_nothing_leaves_before_it_is_written_down() -> None:
    """A message is sealed meanwhile, and goes out when the store has answered."""
    store = SlowStore()
    async with scripted_relay() as relay, running_node(MemoryRegistry(), [relay.url], queues=store) as a:
        a.request(a.twin.id, cmd="rmb.version")
        await store.asked.wait()
        await turns()
        assert a.journal.counts["sealed"] == 1
        assert a.pool.idle
        store.may.set()
        await a.popped("my-ret")


async def test_nobody_is_told_before_it_is_written_down() -> None:
    """An error ends a destination, so it has to be known by then that somebody waits for it."""
    store = SlowStore()
    async with scripted_relay() as relay, running_node(MemoryRegistry(), [relay.url], queues=store) as a:
        a.request(4711)
        await store.asked.wait()
        await turns()  # the registry, which is in memory, answers meanwhile
        assert not store.lists.get("my-ret")
        store.may.set()
        assert (await a.popped("my-ret"))["err"] is not None
        await turns()
        assert not store.lists.get("my-ret")


async def test_more_destinations_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held takes room; the rest follows when it has gone."""
    monkeypatch.setattr(upstream, "IN_FLIGHT_ENTRIES_MAX", 3)
    store = SlowStore()
    async with scripted_relay() as relay, running_node(MemoryRegistry(), [relay.url], queues=store) as a:
        a.request(*[a.twin.id] * 10, cmd="rmb.version")
        await store.asked.wait()
        await turns()
        assert a.upstream.in_flight == 3
        store.may.set()
        for _ in range(10):
            await a.popped("my-ret")


def test_a_hold_keeps_the_order() -> None:
    """What was held happens first, and what comes after the release at once."""
    done: list[int] = []
    hold = Hold()
    hold.then(lambda: done.append(1))
    hold.then(lambda: done.append(2))
    assert not done
    hold.release()
    hold.then(lambda: done.append(3))
    hold.release()
    assert done == [1, 2, 3]
