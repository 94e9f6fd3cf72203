"""Lanes: order per destination, nobody waits for somebody else's look-up, memory is bounded."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hypothesis import given, settings
from hypothesis import strategies as st

from relay.lanes import WAITING_BYTES_MAX, WAITING_ITEMS_MAX, Lanes, Outcome
from rmb_peer.registry.base import RegistryUnavailable
from tests.support.relay import Directory


class Bench:
    def __init__(self, tasks: asyncio.TaskGroup, *twins: int) -> None:
        self.directory = Directory(*twins)
        self.released: list[tuple[str, Outcome]] = []
        self.lanes: Lanes[str] = Lanes(
            self.directory.get, lambda item, outcome: self.released.append((item, outcome)), tasks.create_task
        )

    @property
    def items(self) -> list[str]:
        return [item for item, _ in self.released]


@asynccontextmanager
async def bench(*twins: int) -> AsyncIterator[Bench]:
    async with asyncio.TaskGroup() as tasks:
        yield Bench(tasks, *twins)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_one_lookup_serves_all_that_wait() -> None:
    """Envelopes for one twin wait for one look-up and leave in order."""
    async with bench(9) as b:
        for n in range(5):
            b.lanes.put(9, f"e{n}", 1)
        assert b.lanes.busy(9)
        await settle()
        assert b.items == [f"e{n}" for n in range(5)]
        assert b.directory.asked == {9: 1}
        assert not b.lanes.busy(9)


async def test_a_slow_lookup_holds_up_nobody_else() -> None:
    """Another destination's envelopes pass."""
    async with bench(8, 9) as b:
        b.directory.gates[9] = asyncio.Event()
        b.lanes.put(9, "slow", 1)
        b.lanes.put(8, "fast", 1)
        await settle()
        assert b.items == ["fast"]
        b.directory.gates[9].set()
        await settle()
        assert b.items == ["fast", "slow"]


async def test_a_failed_lookup_releases_with_its_error() -> None:
    """The text reaches each envelope that waited."""
    async with bench() as b:
        b.directory.failing[9] = "chain down"
        b.lanes.put(9, "x", 1)
        await settle()
        ((_, outcome),) = b.released
        assert isinstance(outcome, RegistryUnavailable) and "chain down" in str(outcome)


async def test_a_lookup_without_end_is_given_up() -> None:
    """After the limit the envelopes leave with an error."""
    async with asyncio.TaskGroup() as tasks:
        directory, released = Directory(), asyncio.Queue[Outcome]()
        directory.gates[9] = asyncio.Event()
        lanes: Lanes[str] = Lanes(
            directory.get, lambda _, outcome: released.put_nowait(outcome), tasks.create_task, lookup_s_max=0.02
        )
        lanes.put(9, "x", 1)
        outcome = await asyncio.wait_for(released.get(), 5)
        assert "did not answer within 0.02 seconds" in str(outcome)


async def test_what_waits_is_bounded_by_number_and_bytes() -> None:
    """At the bound the sender is not read; when envelopes leave it is."""
    for count, size in ((WAITING_ITEMS_MAX, 1), (1, WAITING_BYTES_MAX)):
        async with bench(9) as b:
            b.directory.gates[9] = asyncio.Event()
            for n in range(count - 1):
                b.lanes.put(9, str(n), size)
            await asyncio.wait_for(b.lanes.room(), 1)
            b.lanes.put(9, "last", size)
            room = asyncio.ensure_future(b.lanes.room())
            await settle()
            assert not room.done()
            b.directory.gates[9].set()
            await asyncio.wait_for(room, 5)
            assert len(b.items) == count


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["put", "open", "shut"])), max_size=40))
def test_order_per_destination_is_kept(steps: list[tuple[int, str]]) -> None:
    """However look-ups end and in whatever order: per destination, first in is first out, and nothing is lost."""

    async def play() -> None:
        async with bench(1, 2, 3) as b:
            sent: list[str] = []
            for twin, step in steps:
                gate = b.directory.gates.setdefault(twin, asyncio.Event())
                if step == "put":
                    sent.append(f"{twin}:{len(sent)}")
                    b.lanes.put(twin, sent[-1], 1)
                elif step == "open":
                    gate.set()
                else:
                    gate.clear()
                await asyncio.sleep(0)
            for gate in b.directory.gates.values():
                gate.set()
            await settle()
            for twin in (1, 2, 3):
                mine = [item for item in sent if item.startswith(f"{twin}:")]
                assert [item for item in b.items if item.startswith(f"{twin}:")] == mine

    asyncio.run(play())
