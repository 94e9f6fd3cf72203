"""Large messages beside the others: one at a time, in order within a conversation, and others go past.

What takes long about one is done in pieces on the event loop, or in a thread where the interpreter is let go. What
belongs to the same conversation waits behind it; nothing else does. This module refuses to know what a message is.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable
from typing import Generic, TypeVar

from rmb_peer.protocol.large_envelope import LARGE_BYTES

AT_ONCE = 1
"""Large messages that one direction of a gateway works on at a time. Each takes two to four times its size of memory
meanwhile; a second one at the same time would make neither faster, as the work in pieces has one core."""

ITEMS_MAX = 2048
BYTES_MAX = 64 * 1024 * 1024
"""What may be here, where the owner asks: as many verified messages as wait for the store (`downstream`)."""

YIELD_EVERY = 16
"""Followers that are passed on before other work gets its turn, as in `upstream`."""

Item = TypeVar("Item")
Piece = TypeVar("Piece")


class Aside(Generic[Item]):
    """Messages that are large, and those that have to wait behind them."""

    def __init__(
        self,
        spawn: Callable[[Coroutine[None, None, None]], object],
        large: Callable[[Item], Awaitable[None]],
        pass_on: Callable[[Item], None],
    ) -> None:
        """Begin with nothing.

        Args:
            spawn: runs a task for each conversation that has a large one.
            large: works on a large one; must not raise.
            pass_on: gets what waited, in order; must not raise.
        """
        self._spawn = spawn
        self._large = large
        self._pass_on = pass_on
        self._waiting: dict[Hashable, deque[tuple[Item, int, bool]]] = {}
        self._items = self._bytes = 0
        self._roomy = asyncio.Event()
        self._turn = asyncio.Semaphore(AT_ONCE)

    @property
    def busy(self) -> bool:
        """Whether there is anything here, or worked on."""
        return bool(self._waiting)

    def holds(self, conversation: Hashable) -> bool:
        """Whether what belongs to this conversation has to be put here."""
        return conversation in self._waiting

    def put(self, conversation: Hashable, item: Item, size_bytes: int, *, is_large: bool) -> None:
        """Add a large one, or one that has to wait."""
        waiting = self._waiting.get(conversation)
        if waiting is None:
            waiting = self._waiting[conversation] = deque()
            self._spawn(self._run(conversation, waiting))
        waiting.append((item, size_bytes, is_large))
        self._count(1, size_bytes)

    @property
    def has_room(self) -> bool:
        """Whether `room` would not wait."""
        return self._items < ITEMS_MAX and self._bytes < BYTES_MAX

    async def room(self) -> None:
        """Wait while too much waits; for an owner that can make its senders wait."""
        while not self.has_room:
            self._roomy.clear()
            await self._roomy.wait()

    async def _run(self, conversation: Hashable, waiting: deque[tuple[Item, int, bool]]) -> None:
        passed = 0
        while waiting:
            item, size_bytes, is_large = waiting.popleft()
            if is_large:
                async with self._turn:
                    await self._large(item)
            else:
                self._pass_on(item)
                passed += 1
                if passed % YIELD_EVERY == 0:
                    await asyncio.sleep(0)
            self._count(-1, -size_bytes)
        del self._waiting[conversation]

    def _count(self, items: int, size_bytes: int) -> None:
        self._items += items
        self._bytes += size_bytes
        if self.has_room:
            self._roomy.set()


async def in_pieces(pieces: Iterable[Piece]) -> list[Piece]:
    """Everything that an iterator yields; others have their turn between two steps."""
    done = []
    for piece in pieces:
        done.append(piece)
        await asyncio.sleep(0)
    return done


__all__ = ["AT_ONCE", "LARGE_BYTES", "Aside", "in_pieces"]
