"""Lanes: order per destination, nobody waits for somebody else's look-up, memory is bounded."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.base import RegistryUnavailable
from rmb_peer.registry.lanes import WAITING_BYTES_MAX, WAITING_ITEMS_MAX, Lanes, Outcome
from tests.support.relay import Directory


class Bench:
    def __init__(self, tasks: asyncio.TaskGroup, *twins: int) -> None:
        self.directory = Directory(*twins)
        self.released: list[tuple[str, Outcome]] = []
        self.lanes: Lanes[str] = Lanes(
            self.directory, lambda item, outcome: self.released.append((item, outcome)), tasks.create_task
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
            directory, lambda _, outcome: released.put_nowait(outcome), tasks.create_task, lookup_s_max=0.02
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
            assert b.lanes.has_room
            b.lanes.put(9, "last", size)
            assert not b.lanes.has_room
            room = asyncio.ensure_future(b.lanes.room())
            await settle()
            assert not room.done()
            b.directory.gates[9].set()
            await asyncio.wait_for(room, 5)
            assert len(b.items) == count


async def test_a_known_twin_is_not_waited_for() -> None:
    """What the cache knows releases at once, also that there is no such twin."""
    async with bench(9) as b:
        b.lanes.submit(9, "known", 1)
        b.lanes.submit(8, "absent", 1)
        assert [
            (item, outcome and outcome.id) for item, outcome in b.released if not isinstance(outcome, Exception)
        ] == [
            ("known", 9),
            ("absent", None),
        ]


async def test_a_message_does_not_overtake_those_that_wait() -> None:
    """Once the twin is known to the cache, earlier messages of its lane still go first."""
    async with bench(9) as b:
        b.directory.gates[9] = asyncio.Event()
        b.lanes.put(9, "first", 1)
        b.lanes.submit(9, "second", 1)
        assert b.items == []
        b.directory.gates[9].set()
        await settle()
        assert b.items == ["first", "second"]


async def test_too_much_is_released_with_an_error() -> None:
    """For an owner that cannot make its senders wait: at the bound a message fails, known twins still pass."""
    async with bench(7, 9) as b:
        b.directory.gates[9] = asyncio.Event()
        b.lanes.put(9, "waits", WAITING_BYTES_MAX)
        b.lanes.submit(9, "too much", 1)
        b.lanes.submit(7, "known", 1)
        assert b.items == ["too much", "known"]
        assert isinstance(b.released[0][1], RegistryUnavailable)
        b.directory.gates[9].set()


async def test_patience_asks_again() -> None:
    """A look-up that fails is repeated while there is patience; its messages leave with the answer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rmb_peer.registry.lanes.RETRY_S", 0.01)
        async with asyncio.TaskGroup() as tasks:
            directory, released = Directory(9), asyncio.Queue[Outcome]()
            directory.failing[9] = "away"
            lanes: Lanes[str] = Lanes(
                directory, lambda _, outcome: released.put_nowait(outcome), tasks.create_task, patience_s=10.0
            )
            lanes.put(9, "x", 1)
            while directory.asked.get(9, 0) < 3:
                await asyncio.sleep(0.001)  # polls the retries
            assert released.empty()
            del directory.failing[9]
            async with asyncio.timeout(60):
                outcome = await released.get()
            assert isinstance(outcome, Twin)


async def test_patience_counts_the_time_that_look_ups_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that does not answer at all uses patience up as quickly as one that says no at once."""
    monkeypatch.setattr("rmb_peer.registry.lanes.RETRY_S", 0.001)
    async with asyncio.TaskGroup() as tasks:
        directory, released = Directory(9), asyncio.Queue[Outcome]()
        directory.gates[9] = asyncio.Event()
        lanes: Lanes[str] = Lanes(
            directory,
            lambda _, outcome: released.put_nowait(outcome),
            tasks.create_task,
            lookup_s_max=0.1,
            patience_s=0.15,
        )
        lanes.put(9, "x", 1)
        async with asyncio.timeout(60):
            assert isinstance(await released.get(), RegistryUnavailable)
        assert directory.asked[9] <= 2


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
