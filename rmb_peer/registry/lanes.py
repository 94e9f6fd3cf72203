"""Messages that wait for a look-up of their twin, without holding up anybody else.

One lane per twin, first in, first out: a slow look-up neither reorders what belongs to one twin nor holds up what
belongs to others. What waits is bounded. Relays look up destinations here, gateways receivers and senders.

This module refuses to know what a message is, and what happens to it afterwards.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Generic, TypeVar

from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.base import RegistryUnavailable
from rmb_peer.registry.cached import NotCached
from rmb_peer.registry.lookup import TwinLookup

WAITING_ITEMS_MAX = 256
"""Messages that wait in one set of lanes; a guess."""

WAITING_BYTES_MAX = 4 * 1024 * 1024
"""Their bytes; a guess."""

LOOKUP_S_MAX = 10.0
"""Longest wait for one answer of the registry; a guess, shorter than requests usually live."""

RETRY_S = 1.0
"""Pause before a look-up that failed is tried again, where there is patience; a guess."""

Item = TypeVar("Item")
Outcome = Twin | None | RegistryUnavailable


class Lanes(Generic[Item]):
    """The lanes of one owner."""

    def __init__(
        self,
        lookup: TwinLookup,
        release: Callable[[Item, Outcome], None],
        spawn: Callable[[Coroutine[None, None, None]], object],
        *,
        lookup_s_max: float = LOOKUP_S_MAX,
        patience_s: float = 0.0,
        items_max: int = WAITING_ITEMS_MAX,
        bytes_max: int = WAITING_BYTES_MAX,
    ) -> None:
        """Start without lanes.

        Args:
            lookup: what is known, and who can be asked.
            release: gets each message, in order for each twin, with the twin, `None` when there is no such twin, or the
                error when nobody could tell. Must not raise.
            spawn: runs a look-up in the background.
            lookup_s_max: see `LOOKUP_S_MAX`.
            patience_s: for how long a look-up that fails is repeated before its messages are released with the error.
            items_max: messages that may wait.
            bytes_max: their bytes.
        """
        self._lookup = lookup
        self._release = release
        self._spawn = spawn
        self._lookup_s_max = lookup_s_max
        self._patience_s = patience_s
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._lanes: dict[int, list[tuple[Item, int]]] = {}
        self._items = 0
        self._bytes = 0
        self._roomy: asyncio.Event | None = None
        """Made when there is no room for the first time: most lanes always have some, and there are many."""

    @property
    def waiting(self) -> int:
        """Messages in all lanes."""
        return self._items

    def busy(self, twin_id: int) -> bool:
        """Whether messages for this twin wait already; then later ones must wait behind them."""
        return twin_id in self._lanes

    def submit(self, twin_id: int, item: Item, size: int) -> None:
        """Release a message at once if its twin is known, else let it wait.

        When as much waits as may, it is released with an error: for an owner that cannot make its senders wait.
        """
        if not self.busy(twin_id):
            known = self._lookup.peek(twin_id)
            if not isinstance(known, NotCached):
                self._release(item, known)
                return
        if self.has_room:
            self.put(twin_id, item, size)
        else:
            self._release(item, RegistryUnavailable("too many messages wait for the registry of twins"))

    def put(self, twin_id: int, item: Item, size: int) -> None:
        """Let a message of `size` bytes wait for its twin."""
        lane = self._lanes.get(twin_id)
        if lane is None:
            lane = self._lanes[twin_id] = []
            self._spawn(self._run(twin_id, lane))
        lane.append((item, size))
        self._count(1, size)

    @property
    def has_room(self) -> bool:
        """Whether `room` would not wait."""
        return self._items < self._items_max and self._bytes < self._bytes_max

    async def room(self) -> None:
        """Wait while too much waits."""
        while not self.has_room:
            if self._roomy is None:
                self._roomy = asyncio.Event()
            self._roomy.clear()
            await self._roomy.wait()

    async def _run(self, twin_id: int, lane: list[tuple[Item, int]]) -> None:
        clock = asyncio.get_running_loop().time
        until_s = clock() + self._patience_s
        outcome = await self._look_up(twin_id)
        while isinstance(outcome, RegistryUnavailable) and clock() < until_s:
            await asyncio.sleep(RETRY_S)
            outcome = await self._look_up(twin_id)
        del self._lanes[twin_id]
        for item, size in lane:
            self._release(item, outcome)
            self._count(-1, -size)

    async def _look_up(self, twin_id: int) -> Outcome:
        try:
            async with asyncio.timeout(self._lookup_s_max):
                return await self._lookup.get(twin_id)
        except RegistryUnavailable as error:
            return error
        except TimeoutError:
            return RegistryUnavailable(f"the registry did not answer within {self._lookup_s_max:g} seconds")

    def _count(self, items: int, size: int) -> None:
        self._items += items
        self._bytes += size
        if self._roomy is not None and self.has_room:
            self._roomy.set()
