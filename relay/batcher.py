"""Gathers what many tasks want from a store into one round trip at a time.

Everything submitted in one turn of the event loop leaves together; what is submitted while a batch travels leaves in
the next. One batch at a time also keeps the order. This module refuses to know what the items are.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Then = Callable[[Result | Exception], None]
"""Hears how an item went."""


class Batcher(Generic[Item, Result]):
    """One queue, one worker. Run `run` as a task."""

    def __init__(
        self,
        execute: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        size_of: Callable[[Item], int],
        closed: Callable[[], Exception],
        *,
        batch_items_max: int,
        batch_bytes_max: int,
        held_items_max: int,
        held_bytes_max: int,
    ) -> None:
        """Set up an idle batcher.

        Args:
            execute: carries a batch out; one result or exception per item, in order. It raises nothing.
            size_of: bytes of one item, with whatever overhead it costs to hold.
            closed: makes the error of items that were not carried out before the end.
            batch_items_max: items in one batch.
            batch_bytes_max: a batch ends with the item that reaches this.
            held_items_max: `room` waits while more items than this are held, in the queue or under way.
            held_bytes_max: the same for their bytes.
        """
        self._execute = execute
        self._size_of = size_of
        self._closed_error = closed
        self._batch_items_max = batch_items_max
        self._batch_bytes_max = batch_bytes_max
        self._held_items_max = held_items_max
        self._held_bytes_max = held_bytes_max
        self._queue: deque[tuple[Item, Then[Result]]] = deque()
        self._held_items = 0
        self._held_bytes = 0
        self._filled = asyncio.Event()
        self._roomy = asyncio.Event()
        self._roomy.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    @property
    def held_bytes(self) -> int:
        """Bytes in the queue and under way."""
        return self._held_bytes

    def submit(self, item: Item) -> "asyncio.Future[Result]":
        """Queue an item; the future tells how it went."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.submit_then(item, partial(settle, future))
        return future

    def submit_then(self, item: Item, then: Then[Result]) -> None:
        """Queue an item, for those who have many: a future costs more than all else here.

        Args:
            item: to be carried out.
            then: hears how it went, once; in the order of the items.
        """
        if self._closed:
            then(self._closed_error())
            return
        if not self._queue:
            self._filled.set()
            self._idle.clear()
        self._queue.append((item, then))
        self._hold(1, self._size_of(item))

    @property
    def has_room(self) -> bool:
        """Whether `room` would not wait."""
        return self._roomy.is_set()

    async def room(self) -> None:
        """Wait until what is held is within the bounds."""
        if not self._roomy.is_set():
            await self._roomy.wait()

    async def idle(self) -> None:
        """Wait until nothing is queued or under way."""
        await self._idle.wait()

    async def run(self) -> None:
        """Carry out batches until cancelled; then what was left fails."""
        batch: list[tuple[Item, Then[Result]]] = []
        try:
            while True:
                await self._filled.wait()
                batch = self._next_batch()
                results = await self._execute([item for item, _ in batch])
                assert len(results) == len(batch)
                told, batch = batch, []  # even if we are cancelled by what somebody does next, nobody hears twice
                for (_, then), result in zip(told, results, strict=True):
                    _tell(then, result)
                self._release(told)
        finally:
            self._closed = True
            left = [*batch, *self._queue]
            self._queue.clear()
            for _, then in left:
                _tell(then, self._closed_error())
            self._roomy.set()
            self._idle.set()

    def _hold(self, items: int, size: int) -> None:
        self._held_items += items
        self._held_bytes += size
        if self._held_items <= self._held_items_max and self._held_bytes <= self._held_bytes_max:
            self._roomy.set()
        else:
            self._roomy.clear()

    def _next_batch(self) -> list[tuple[Item, Then[Result]]]:
        batch: list[tuple[Item, Then[Result]]] = []
        size = 0
        while self._queue and len(batch) < self._batch_items_max and size < self._batch_bytes_max:
            batch.append(self._queue.popleft())
            size += self._size_of(batch[-1][0])
        if not self._queue:
            self._filled.clear()
        return batch

    def _release(self, batch: list[tuple[Item, Then[Result]]]) -> None:
        self._hold(-len(batch), -sum(self._size_of(item) for item, _ in batch))
        if not self._queue:
            self._idle.set()


def _tell(then: Then[Result], result: Result | Exception) -> None:
    """As an event loop does: what goes wrong in there is reported, and the others hear all the same."""
    try:
        then(result)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is reported
        report = {"message": "whoever was told of a batch has failed", "exception": error}
        asyncio.get_running_loop().call_exception_handler(report)


def settle(future: "asyncio.Future[Result]", result: Result | Exception) -> None:
    """Give a future its result, unless whoever has it was cancelled."""
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
