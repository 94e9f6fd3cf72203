"""Envelopes of one sender that wait for a look-up of their destination.

One lane per destination twin, first in, first out, so that a slow look-up neither reorders what goes to one destination
nor holds up what goes to others. What waits is bounded; when it is too much, the sender is not read.

This module refuses to know what happens to an envelope afterwards.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Generic, TypeVar

from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.base import RegistryUnavailable

WAITING_ITEMS_MAX = 256
"""Envelopes of one sender that wait for look-ups; a guess."""

WAITING_BYTES_MAX = 4 * 1024 * 1024
"""Their bytes; a guess."""

LOOKUP_S_MAX = 10.0
"""Longest wait for the registry; a guess, shorter than requests usually live."""

Item = TypeVar("Item")
Outcome = Twin | None | RegistryUnavailable


class Lanes(Generic[Item]):
    """The lanes of one sender."""

    def __init__(
        self,
        look_up: Callable[[int], Coroutine[None, None, Twin | None]],
        release: Callable[[Item, Outcome], None],
        spawn: Callable[[Coroutine[None, None, None]], object],
        *,
        lookup_s_max: float = LOOKUP_S_MAX,
    ) -> None:
        """Start without lanes.

        Args:
            look_up: asks the registry.
            release: gets each envelope, in order, with what the look-up gave.
            spawn: runs a look-up in the background.
            lookup_s_max: see `LOOKUP_S_MAX`.
        """
        self._look_up = look_up
        self._release = release
        self._spawn = spawn
        self._lookup_s_max = lookup_s_max
        self._lanes: dict[int, list[tuple[Item, int]]] = {}
        self._items = 0
        self._bytes = 0
        self._roomy = asyncio.Event()
        self._roomy.set()

    def busy(self, twin_id: int) -> bool:
        """Whether envelopes for this twin wait already; then later ones must wait behind them."""
        return twin_id in self._lanes

    def put(self, twin_id: int, item: Item, size: int) -> None:
        """Let an envelope of `size` bytes wait for its destination."""
        lane = self._lanes.get(twin_id)
        if lane is None:
            lane = self._lanes[twin_id] = []
            self._spawn(self._run(twin_id, lane))
        lane.append((item, size))
        self._count(1, size)

    async def room(self) -> None:
        """Wait while too much waits."""
        if not self._roomy.is_set():
            await self._roomy.wait()

    async def _run(self, twin_id: int, lane: list[tuple[Item, int]]) -> None:
        outcome: Outcome
        try:
            async with asyncio.timeout(self._lookup_s_max):
                outcome = await self._look_up(twin_id)
        except RegistryUnavailable as error:
            outcome = error
        except TimeoutError:
            outcome = RegistryUnavailable(f"the registry did not answer within {self._lookup_s_max:g} seconds")
        del self._lanes[twin_id]
        for item, size in lane:
            self._release(item, outcome)
            self._count(-1, -size)

    def _count(self, items: int, size: int) -> None:
        self._items += items
        self._bytes += size
        if self._items < WAITING_ITEMS_MAX and self._bytes < WAITING_BYTES_MAX:
            self._roomy.set()
        else:
            self._roomy.clear()
