"""Waiting for the next item of either input list: a blocking move, and behind it in the same write the take.

The server runs both before it answers, so a lone item costs one round trip. Each list has a connection of its own,
because a move blocks its connection. Takes of two connections may be answered in another order than they happened: who
uses this puts them in order. It refuses to know what a take does.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis import exceptions

from rmb_peer.store.address import StoreAddress
from rmb_peer.store.client import StoreClient
from rmb_peer.store.wire import Packed, pack


@dataclass(frozen=True, slots=True)
class Moved:
    """What one move and the take behind it were answered.

    Attributes:
        error: what went wrong with either, if something did.
        answer: of the take, if nothing did.
        count_max: see `WaitingMoves.arm`.
    """

    error: exceptions.RedisError | None
    answer: list[Any]
    count_max: int


class _Waiter:
    """One list, one connection."""

    def __init__(self, address: StoreAddress, source: str, target: str, wait_s: float, answer_s_max: float) -> None:
        self.client = StoreClient(address, answer_s_max=wait_s + answer_s_max)
        self.move = pack(("BLMOVE", source, target, "RIGHT", "LEFT", wait_s))
        self.future: asyncio.Future[list[Any]] | None = None
        self.count_max = 0


class WaitingMoves:
    """See the module. Each list has one move at a time, whose result stays until it is collected."""

    def __init__(
        self, address: StoreAddress, lists: Sequence[tuple[str, str]], *, wait_s: float, answer_s_max: float
    ) -> None:
        """Nothing is connected yet.

        Args:
            address: where the store is.
            lists: from which list to which, by waiter.
            wait_s: how long a move waits.
            answer_s_max: longest wait for an answer beyond that.
        """
        self._waiters = [_Waiter(address, *names, wait_s, answer_s_max) for names in lists]
        self._changed: asyncio.Future[None] | None = None

    def arm(self, take: Packed, count_max: int) -> None:
        """Let every list wait that does not.

        Args:
            take: the command behind the move.
            count_max: what it takes at most; handed back with its answer.
        """
        for waiter in self._waiters:
            if waiter.future is None:
                waiter.count_max = count_max
                waiter.future = waiter.client.begin([waiter.move, take])
                waiter.future.add_done_callback(self._wake)

    @property
    def waiting(self) -> bool:
        """Whether any move is under way."""
        return any(waiter.future is not None and not waiter.future.done() for waiter in self._waiters)

    async def wait(self) -> None:
        """Until there is something to collect; at least one move is under way."""
        while not any(waiter.future is not None and waiter.future.done() for waiter in self._waiters):
            if self._changed is None:
                self._changed = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._changed)

    def collect(self) -> list[Moved]:
        """What has been answered since the last time."""
        found = []
        for waiter in self._waiters:
            if waiter.future is not None and waiter.future.done():
                future, waiter.future = waiter.future, None
                found.append(_moved(future, waiter.count_max))
        return found

    async def close(self) -> None:
        """Release the connections. An item that a move fetches meanwhile stays in its own list, or in the outbox."""
        for waiter in self._waiters:
            await waiter.client.close()
        futures = [waiter.future for waiter in self._waiters if waiter.future is not None]
        await asyncio.gather(*futures, return_exceptions=True)

    def _wake(self, _: asyncio.Future[list[Any]]) -> None:
        changed, self._changed = self._changed, None
        if changed is not None and not changed.done():
            changed.set_result(None)


def _moved(future: asyncio.Future[list[Any]], count_max: int) -> Moved:
    if future.cancelled():
        return Moved(exceptions.ConnectionError("the wait was given up"), [], count_max)
    error = future.exception()
    if isinstance(error, exceptions.RedisError):
        return Moved(error, [], count_max)
    move, take = future.result()  # raises what is no error of the store
    for answer in (move, take):
        if isinstance(answer, exceptions.RedisError):
            return Moved(answer, [], count_max)
    return Moved(None, take, count_max)
