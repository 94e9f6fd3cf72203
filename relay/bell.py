"""An event that one task waits for. `asyncio.Event` keeps a queue of waiters, 800 bytes, and a session has several."""

import asyncio


class Bell:
    """Like `asyncio.Event`, for a single waiting task."""

    __slots__ = ("_rung", "_waiter")

    def __init__(self, rung: bool = False) -> None:
        """Begin silent, or not."""
        self._rung = rung
        self._waiter: asyncio.Future[None] | None = None

    def is_set(self) -> bool:
        """Whether `wait` would return at once."""
        return self._rung

    def set(self) -> None:
        """Ring: whoever waits goes on, and nobody waits until it is cleared."""
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        """Be silent: the next `wait` waits."""
        self._rung = False

    async def wait(self) -> None:
        """Wait until it rings.

        Raises:
            RuntimeError: another task is waiting already.
        """
        if self._rung:
            return
        if self._waiter is not None:
            raise RuntimeError("a bell wakes one task")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
