"""The small event."""

import asyncio

import pytest

from relay.bell import Bell


async def test_it_wakes_who_waits() -> None:
    """Also if it is cleared before the task has run; a bell that rings lets everybody through."""
    bell = Bell()
    waiting = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    bell.set()
    bell.set()
    bell.clear()
    await waiting
    assert not bell.is_set()
    bell.set()
    await bell.wait()
    await Bell(rung=True).wait()


async def test_a_waiter_that_is_cancelled_is_forgotten() -> None:
    """The next one may wait, and a ring in between does no harm."""
    bell = Bell()
    waiting = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    bell.set()
    await asyncio.gather(waiting, return_exceptions=True)
    bell.clear()
    again = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError):
        await bell.wait()
    bell.set()
    await again
