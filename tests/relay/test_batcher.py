"""The batcher: one batch at a time, everything of one turn together, order kept, memory bounded."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from relay.batcher import Batcher


class Store:
    """Carries out batches when it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def execute(self, batch: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(batch))
        await self.gate.wait()
        return [ValueError(item) if item < 0 else 10 * item for item in batch]


@asynccontextmanager
async def batcher(store: Store, **bounds: int) -> AsyncIterator[Batcher[int, int]]:
    limits = {"batch_items_max": 100, "batch_bytes_max": 1000, "held_items_max": 100, "held_bytes_max": 1000, **bounds}
    queue: Batcher[int, int] = Batcher(store.execute, abs, lambda: EOFError("closed"), **limits)
    running = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_one_turn_is_one_batch() -> None:
    """Items submitted together travel together, and each gets its own result."""
    store = Store()
    async with batcher(store) as queue:
        assert await asyncio.gather(*(queue.submit(n) for n in range(5))) == [0, 10, 20, 30, 40]
    assert store.batches == [[0, 1, 2, 3, 4]]


async def test_while_one_batch_travels_the_next_gathers() -> None:
    """Never two at once; what comes meanwhile leaves together afterwards."""
    store = Store()
    store.gate.clear()
    async with batcher(store) as queue:
        first = queue.submit(1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        later = []
        for n in (2, 3, 4):
            later.append(queue.submit(n))
            await asyncio.sleep(0)
        assert store.batches == [[1]]
        store.gate.set()
        await asyncio.gather(first, *later)
    assert store.batches == [[1], [2, 3, 4]]


async def test_batches_are_bounded() -> None:
    """By number and by bytes; an item larger than the bound travels alone."""
    store = Store()
    async with batcher(store, batch_items_max=3, batch_bytes_max=50) as queue:
        await asyncio.gather(*(queue.submit(n) for n in (1, 2, 3, 4, 45, 7, 99, 8)))
    assert store.batches == [[1, 2, 3], [4, 45, 7], [99], [8]]


async def test_one_failure_is_nobody_elses() -> None:
    """An item's exception reaches the one who asked."""
    async with batcher(Store()) as queue:
        bad, good = queue.submit(-1), queue.submit(2)
        with pytest.raises(ValueError, match="-1"):
            await bad
        assert await good == 20


@pytest.mark.parametrize("bounds", [{"held_bytes_max": 10}, {"held_items_max": 1}])
async def test_room_and_idle(bounds: dict[str, int]) -> None:
    """`room` waits above either bound, `idle` until nothing is left."""
    store = Store()
    store.gate.clear()
    async with batcher(store, **bounds) as queue:
        queue.submit(10)
        await asyncio.wait_for(queue.room(), 1)
        assert queue.has_room
        queue.submit(1)
        assert not queue.has_room
        assert queue.held_bytes == 11
        waiting = [asyncio.ensure_future(queue.room()), asyncio.ensure_future(queue.idle())]
        await asyncio.wait(waiting, timeout=0.02)
        assert not any(task.done() for task in waiting)
        store.gate.set()
        await asyncio.wait_for(asyncio.gather(*waiting), 5)
        assert queue.held_bytes == 0


async def test_what_is_left_at_the_end_fails() -> None:
    """Queued, under way, or submitted later: nobody waits for ever."""
    store = Store()
    store.gate.clear()
    async with batcher(store, batch_items_max=1) as queue:
        futures = [queue.submit(1), queue.submit(2)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    futures.append(queue.submit(3))
    for future in futures:
        with pytest.raises(EOFError):
            await future
    await asyncio.wait_for(asyncio.gather(queue.room(), queue.idle()), 1)


async def test_a_cancelled_item_does_not_stop_the_others() -> None:
    """Whoever gives up waiting takes nobody along."""
    async with batcher(Store()) as queue:
        gone, stays = queue.submit(1), queue.submit(2)
        gone.cancel()
        assert await stays == 20
