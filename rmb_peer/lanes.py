"""Looking up twins without anybody waiting for somebody else's look-up.

Messages of a twin that is cached are handled at once. For one that is not, a *lane* opens: its messages wait there in
order until the registry has answered, while all other messages go on.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.base import RegistryUnavailable
from rmb_peer.registry.cached import NotCached

LANE_ITEMS_MAX = 10_000
"""Messages that wait for look-ups, all lanes together. A guess: as many as one service list may hold."""

RETRY_S = 1.0
"""Pause before a failed look-up is tried again, where the owner of the lanes is patient."""

T = TypeVar("T")


class TwinCache(Protocol):
    """The part of the cached registry that lanes use."""

    def peek(self, twin_id: int) -> Twin | NotCached | None:
        """What is known without asking."""
        ...

    async def get(self, twin_id: int) -> Twin | None:
        """Ask."""
        ...


class TwinLanes(Generic[T]):
    """Hands each item to a handler together with what the registry says of its twin."""

    def __init__(
        self,
        cache: TwinCache,
        handle: Callable[[Twin | RegistryUnavailable | None, T], None],
        tasks: asyncio.TaskGroup,
        *,
        patience_s: float = 0.0,
        items_max: int = LANE_ITEMS_MAX,
    ) -> None:
        """Set up.

        Args:
            cache: where twins are looked up.
            handle: called once for each item, in order for each twin: with the twin, with `None` when there is no such
                twin, or with the error when the registry could not be asked. Must not raise.
            tasks: owner of the look-ups.
            patience_s: how long a failing look-up is repeated before `handle` gets the error.
            items_max: items in all lanes; more are handled with an error at once.
        """
        self._cache = cache
        self._handle = handle
        self._tasks = tasks
        self._patience_s = patience_s
        self._items_max = items_max
        self._lanes: dict[int, list[T]] = {}
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Items that wait for a look-up."""
        return self._waiting

    def submit(self, twin_id: int, item: T) -> None:
        """Handle an item now, or when its twin is known."""
        lane = self._lanes.get(twin_id)
        if lane is None:
            twin = self._cache.peek(twin_id)
            if not isinstance(twin, NotCached):
                self._handle(twin, item)
                return
            lane = self._lanes[twin_id] = []
            self._tasks.create_task(self._resolve(twin_id))
        if self._waiting >= self._items_max:
            self._handle(RegistryUnavailable("too many messages wait for the registry of twins"), item)
            return
        lane.append(item)
        self._waiting += 1

    async def _resolve(self, twin_id: int) -> None:
        answer = await self._look_up(twin_id)
        lane = self._lanes.pop(twin_id)
        self._waiting -= len(lane)
        for item in lane:
            self._handle(answer, item)

    async def _look_up(self, twin_id: int) -> Twin | RegistryUnavailable | None:
        tries = int(self._patience_s / RETRY_S)
        while True:
            try:
                return await self._cache.get(twin_id)
            except RegistryUnavailable as error:
                if tries <= 0:
                    return error
                tries -= 1
            await asyncio.sleep(RETRY_S)
