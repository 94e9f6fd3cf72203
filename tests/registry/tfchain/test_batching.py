"""Many questions for single twins become few questions for many."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from rmb_peer.registry.base import RegistryUnavailable
from rmb_peer.registry.tfchain.batching import Batcher


class Chain:
    """Answers each id with its double, when told to."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def ask(self, numbers: Sequence[int]) -> Mapping[int, int]:
        self.asked.append(list(numbers))
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return {number: 2 * number for number in numbers}


async def test_ids_gather_while_a_question_is_under_way() -> None:
    """The first goes alone, the rest together, at most so many at once, each once."""
    chain = Chain()
    batcher = Batcher(chain.ask, 3)
    first = asyncio.create_task(batcher.get(1))
    while not chain.asked:
        await asyncio.sleep(0)
    rest = [asyncio.create_task(batcher.get(number)) for number in (2, 3, 4, 5, 2)]
    await asyncio.sleep(0)
    chain.go.set()
    assert await asyncio.gather(first, *rest) == [2, 4, 6, 8, 10, 4]
    assert chain.asked == [[1], [2, 3, 4], [5]]
    assert await batcher.get(6) == 12
    await batcher.close()


async def test_a_failure_reaches_all_who_asked_and_nobody_else() -> None:
    """The next question is asked all the same."""
    chain = Chain()
    chain.go.set()
    chain.error = RegistryUnavailable("away")
    batcher = Batcher(chain.ask, 10)
    outcomes = await asyncio.gather(batcher.get(1), batcher.get(2), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["other: away"] * 2
    chain.error = None
    assert await batcher.get(1) == 2
    await batcher.close()


async def test_who_is_cancelled_leaves_alone() -> None:
    """Another one who waits for the same id gets the answer."""
    chain = Chain()
    batcher = Batcher(chain.ask, 10)
    leaving, staying = (asyncio.create_task(batcher.get(1)) for _ in range(2))
    while not chain.asked:
        await asyncio.sleep(0)
    leaving.cancel()
    chain.go.set()
    assert await staying == 2
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await batcher.close()


async def test_closing_fails_what_waits() -> None:
    """Both what is under way and what gathers; closing again is harmless."""
    chain = Chain()
    batcher = Batcher(chain.ask, 1)
    tasks = [asyncio.create_task(batcher.get(number)) for number in (1, 2)]
    while not chain.asked:
        await asyncio.sleep(0)
    await batcher.close()
    for task in tasks:
        with pytest.raises(RegistryUnavailable, match="was closed"):
            await task
    await batcher.close()
