"""The end of everything that a gateway runs: an orderly one is no error. It refuses to know what runs."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """Leaves the start, or the task group and ends all its tasks."""


class _Tasks(asyncio.TaskGroup):
    """A task group that can be emptied while it still takes tasks."""

    def __init__(self) -> None:
        super().__init__()
        self._running: set[asyncio.Task[Any]] = set()

    def create_task(self, coro: Coroutine[Any, Any, T], **options: Any) -> asyncio.Task[T]:  # type: ignore[override]
        task = super().create_task(coro, **options)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def end_all(self) -> None:
        """Cancel everything, and what begins meanwhile."""
        while self._running:
            for task in self._running:
                task.cancel()
            await asyncio.wait(self._running)


@asynccontextmanager
async def until_stopped() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group that `Stopped` ends in order.

    Its parts have task groups of their own, which hear of the end one turn of the event loop later, and may begin
    something until then. A group that ends by an error refuses that with another error, so all is ended before.
    """
    try:
        async with _Tasks() as tasks:
            try:
                yield tasks
            except Stopped:
                await tasks.end_all()
                raise
    except* Stopped:
        pass
