"""Ending tasks for certain."""

import asyncio

import pytest

from relay.tasks import end


async def test_a_task_that_swallows_a_cancellation_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some libraries swallow one; it is asked again until it is gone."""
    monkeypatch.setattr("relay.tasks.AGAIN_S", 0.001)
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while swallowed < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
        await asyncio.Event().wait()

    async def plain() -> None:
        await asyncio.Event().wait()

    async def done() -> None:
        return

    tasks = [asyncio.create_task(work()) for work in (stubborn, plain, done)]
    await asyncio.sleep(0)
    await asyncio.wait_for(end(tasks), 5)
    assert swallowed == 3
    assert [task.cancelled() for task in tasks] == [True, True, False]
    await end([])
