"""Many tasks ask for one twin each; the chain is asked for all of them at once.

While one question is under way, ids gather for the next, so a slow node delays everybody by one answer, not by one
answer for each twin. This module refuses to know how the question is asked.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Generic, TypeVar

from rmb_peer.registry.base import RegistryUnavailable

Value = TypeVar("Value")


class Batcher(Generic[Value]):
    """Gathers ids into questions of at most `batch_max`."""

    def __init__(self, ask: Callable[[Sequence[int]], Awaitable[Mapping[int, Value]]], batch_max: int) -> None:
        """Start empty.

        Args:
            ask: gets ids, answers for each of them or raises `RegistryUnavailable`.
            batch_max: most ids for one call.
        """
        self._ask = ask
        self._batch_max = batch_max
        self._waiting: dict[int, asyncio.Future[Value]] = {}
        self._task: asyncio.Task[None] | None = None

    async def get(self, number: int) -> Value:
        """The answer for one id.

        Raises:
            RegistryUnavailable: there was none.
        """
        future = self._waiting.get(number)
        if future is None:
            future = self._waiting[number] = asyncio.get_running_loop().create_future()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="tfchain reads")
        return await asyncio.shield(future)  # others may wait for the same

    async def close(self) -> None:
        """End; whoever still waits gets `RegistryUnavailable`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        waiting, self._waiting = self._waiting, {}
        _fail(waiting.values(), RegistryUnavailable("the registry was closed"))

    async def _run(self) -> None:
        while self._waiting:
            batch = dict(islice(self._waiting.items(), self._batch_max))
            for number in batch:
                del self._waiting[number]
            try:
                answers = await self._ask(list(batch))
            except RegistryUnavailable as error:
                _fail(batch.values(), error)
                continue
            except BaseException:
                _fail(batch.values(), RegistryUnavailable("the registry was closed"))
                raise
            for number, future in batch.items():
                if not future.done():
                    future.set_result(answers[number])


def _fail(futures: Iterable["asyncio.Future[Value]"], error: RegistryUnavailable) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(type(error)(error.detail))  # one each: raising an error changes it
            future.exception()  # nobody may be left to look at it
