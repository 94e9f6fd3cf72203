"""A registry in front of another one, which remembers answers for a while.

The hot path asks `peek`, which never waits. A miss costs one query, however many messages wait for it, and a slow query
holds up only those who ask for the same twin (spec rmb 7.4, 10.10). While the registry behind does not answer, what it
said before is still used, for a bounded time.

This module refuses to know how a registry is asked, and what a twin is asked for.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.signatures import Signer
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.base import Registry, RegistryRefused, RegistryUnavailable
from rmb_peer.registry.lru import Lru

FRESH_S = 300.0
"""How long a record is believed without asking again; 5 minutes, as in the Rust gateway (spec rmb 7.4)."""

ABSENT_S = 10.0
"""How long "no such twin" is believed. Short, because a twin may be about to register; a guess."""

FAILURE_S = 1.0
"""Pause after a query that failed, per twin, so that a dead registry is not asked once per message; a guess."""

REFRESH_S = 10.0
"""Shortest time between two forced queries for one twin, so that bad signatures cannot drive queries; a guess."""

HURRY_S = 2.0
"""How long a question about a twin that is known, but not fresh, may take before the old record is used meanwhile. A
guess: several times a normal answer, and far less than messages may wait for a look-up (`lanes.LOOKUP_S_MAX`)."""

STALE_S = 24 * 3600.0
"""How long a record is served after the registry last confirmed it, while the registry does not answer; a guess: an
operator notices an outage within a day, and a key that changed meanwhile shows as a failed signature."""

ENTRIES_MAX = 10_000
"""Records remembered; also "no such twin" answers, failures and refresh times, each in a table of their own so that a
flood of unknown ids cannot push out the known ones. A guess: about 5 MB."""

LOOKUPS_MAX = 1_000
"""Queries under way at once, for as many different twins. More are refused as "unavailable"; a guess."""

WARNING_PAUSE_S = 60.0
"""Shortest time between two warnings, for a registry that answers about some twins and not about others; a guess."""

_LOG = get_logger("registry")


class NotCached(Enum):
    """The type of `NOT_CACHED`, so that a type checker can tell it from `None`."""

    NOT_CACHED = "not cached"


NOT_CACHED: Final = NotCached.NOT_CACHED
"""What `peek` answers when only a query can tell."""


@dataclass(slots=True)
class _Known:
    twin: Twin
    heard_at: float
    """When the registry last confirmed it."""
    fresh_until: float


@dataclass(frozen=True, slots=True)
class _Failed:
    detail: str
    until: float


class CachedRegistry:
    """Any registry, with a memory. It owns the registry behind it: closing this closes that."""

    def __init__(
        self,
        inner: Registry,
        *,
        clock: Callable[[], float] = time.monotonic,
        fresh_s: float = FRESH_S,
        absent_s: float = ABSENT_S,
        failure_s: float = FAILURE_S,
        refresh_s: float = REFRESH_S,
        hurry_s: float = HURRY_S,
        stale_s: float = STALE_S,
        entries_max: int = ENTRIES_MAX,
        lookups_max: int = LOOKUPS_MAX,
    ) -> None:
        self._inner = inner
        self._clock = clock
        self._fresh_s = fresh_s
        self._absent_s = absent_s
        self._failure_s = failure_s
        self._refresh_s = refresh_s
        self._hurry_s = hurry_s
        self._stale_s = stale_s
        self._lookups_max = lookups_max
        self._known: Lru[int, _Known] = Lru(entries_max)
        self._absent_until: Lru[int, float] = Lru(entries_max)
        self._failed: Lru[int, _Failed] = Lru(entries_max)
        self._refreshed_at: Lru[int, float] = Lru(entries_max)
        self._lookups: dict[int, asyncio.Task[Twin | _Failed | None]] = {}
        self._overtaken: dict[int, Twin] = {}
        self._doubts = 0
        self._outage = False
        self._warn_at = -math.inf
        self._closed = False

    def __len__(self) -> int:
        """How many records are remembered."""
        return len(self._known)

    def peek(self, twin_id: int) -> Twin | NotCached | None:
        """What is known without asking: the twin, `None` when there is none, or `NOT_CACHED`. Never waits."""
        known = self._known.get(twin_id)
        if known is not None:
            return known.twin if self._clock() < known.fresh_until else NOT_CACHED
        absent_until = self._absent_until.get(twin_id)
        if absent_until is not None and self._clock() < absent_until:
            return None
        return NOT_CACHED

    async def get(self, twin_id: int) -> Twin | None:
        """The twin with this id, from memory when possible; `None` when there is none.

        Raises:
            RegistryUnavailable: no answer, now or within the last second, and none from before that may still be used.
        """
        found = self.peek(twin_id)
        if found is not NOT_CACHED:
            return found
        failed = self._failed.get(twin_id)
        if failed is not None and self._clock() < failed.until:
            raise RegistryUnavailable(failed.detail)
        old = self._usable(twin_id)
        return await (self._look_up(twin_id) if old is None else self._look_up_in_a_hurry(old))

    async def refresh(self, twin_id: int) -> Twin | None:
        """Ask the registry even if an answer is in memory: for a signature or a cipher that fits no known key.

        At most one query per twin in `refresh_s`; sooner, and when the registry does not answer, this is `get`.

        Raises:
            RegistryUnavailable: as for `get`.
        """
        now = self._clock()
        last = self._refreshed_at.get(twin_id)
        if last is not None and now - last < self._refresh_s:
            return await self.get(twin_id)
        self._refreshed_at.put(twin_id, now)
        return await self._look_up(twin_id)

    def invalidate(self, twin: Twin) -> None:
        """A record changed: whatever is in memory under its id gives way to it, also a query that is under way.

        A twin that nobody here asked for is not remembered.
        """
        if twin.id in self._lookups:
            self._overtaken[twin.id] = twin
        if self._known.get(twin.id) is not None or self._absent_until.get(twin.id) is not None:
            self._remember(twin)

    def expire(self, twin_ids: Iterable[int]) -> None:
        """These records may have changed: they are asked for again before they are believed.

        They are still used while the registry does not answer. What a query that is under way will say may be as old.
        """
        now = self._clock()
        self._doubts += 1
        for twin_id in twin_ids:
            self._absent_until.drop(twin_id)
            known = self._known.get(twin_id)
            if known is not None:
                known.fresh_until = min(known.fresh_until, now)

    def expire_all(self) -> None:
        """Any record may have changed, as for `expire`."""
        self._absent_until.clear()
        self.expire(list(self._known))

    async def follow(self) -> None:
        """Take over the changes that the registry behind tells about; run this as a task, it never ends by itself."""
        async for twin in self._inner.watch():
            self.invalidate(twin)

    async def get_by_account(self, account: bytes) -> Twin | None:
        """The twin of an account. Asks the registry each time: this is for start-up and for people.

        Raises:
            RegistryUnavailable: no answer.
        """
        twin = await self._inner.get_by_account(account)
        if twin is not None:
            self._remember(twin)
        return twin

    async def put(self, signer: Signer, relays: frozenset[str], public_key: bytes | None) -> Twin:
        """Make the record of the signer's account say this, and remember it.

        Raises:
            RegistryUnavailable: no answer.
            RegistryRefused: the registry does not accept it.
        """
        twin = await self._inner.put(signer, relays, public_key)
        self._remember(twin)
        return twin

    def watch(self) -> AsyncIterator[Twin]:
        """The changes that the registry behind tells about."""
        return self._inner.watch()

    async def close(self) -> None:
        """End queries that are under way, then close the registry behind. Closing twice is harmless."""
        self._closed = True
        lookups = list(self._lookups.values())
        for lookup in lookups:
            lookup.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)
        await self._inner.close()

    async def _look_up_in_a_hurry(self, old: _Known) -> Twin | None:
        """Ask, and use what is known when the answer is late: a registry that hangs holds up nobody who is known."""
        try:
            async with asyncio.timeout(self._hurry_s):
                return await self._look_up(old.twin.id)
        except TimeoutError:
            old.fresh_until = max(old.fresh_until, self._clock() + self._refresh_s)
            self._warn_of_outage(f"no answer within {self._hurry_s:g} s")
            return old.twin

    def _usable(self, twin_id: int) -> _Known | None:
        """What the registry said, unless that is too long ago."""
        known = self._known.get(twin_id)
        return known if known is not None and self._clock() < known.heard_at + self._stale_s else None

    async def _look_up(self, twin_id: int) -> Twin | None:
        lookup = self._lookups.get(twin_id) or self._start_lookup(twin_id)
        try:
            outcome = await asyncio.shield(lookup)  # who is cancelled here leaves alone; the query serves the others
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if lookup.cancelled() and task is not None and not task.cancelling():  # by `close`: not the caller's end
                raise RegistryUnavailable("the registry was closed") from None
            raise
        if isinstance(outcome, _Failed):
            raise RegistryUnavailable(outcome.detail)
        return outcome

    def _start_lookup(self, twin_id: int) -> "asyncio.Task[Twin | _Failed | None]":
        if self._closed:
            raise RegistryUnavailable("the registry was closed")
        if len(self._lookups) >= self._lookups_max:
            raise RegistryUnavailable(f"{self._lookups_max} look-ups already wait for the registry: try again later")
        lookup = asyncio.create_task(self._ask(twin_id), name=f"registry look-up {twin_id}")
        self._lookups[twin_id] = lookup
        return lookup

    async def _ask(self, twin_id: int) -> Twin | _Failed | None:
        doubts = self._doubts
        try:
            twin = await self._inner.get(twin_id)
        except (RegistryUnavailable, RegistryRefused) as error:
            return self._without_answer(twin_id, error.detail)
        finally:
            del self._lookups[twin_id]
            newer = self._overtaken.pop(twin_id, None)
        if self._outage:
            self._outage = False
            event(_LOG, logging.INFO, "the registry answers again")
        doubtful = newer is None and doubts != self._doubts  # it may say what was so before
        twin = newer or twin
        if twin is not None:
            self._remember(twin, 0.0 if doubtful else self._fresh_s)
        else:
            self._known.drop(twin_id)
            if not doubtful:
                self._absent_until.put(twin_id, self._clock() + self._absent_s)
        return twin

    def _remember(self, twin: Twin, fresh_s: float | None = None) -> None:
        now = self._clock()
        self._known.put(twin.id, _Known(twin, now, now + (self._fresh_s if fresh_s is None else fresh_s)))
        self._absent_until.drop(twin.id)
        self._failed.drop(twin.id)

    def _without_answer(self, twin_id: int, detail: str) -> Twin | _Failed | None:
        now = self._clock()
        known = self._usable(twin_id)
        if known is not None:
            known.fresh_until = max(known.fresh_until, now + self._failure_s)
            self._warn_of_outage(detail)
            return known.twin
        absent_until = self._absent_until.get(twin_id)
        if absent_until is not None and now < absent_until:
            return None
        failed = _Failed(detail, now + self._failure_s)
        self._failed.put(twin_id, failed)
        return failed

    def _warn_of_outage(self, reason: str) -> None:
        now = self._clock()
        if not self._outage and now >= self._warn_at:
            self._outage = True
            self._warn_at = now + WARNING_PAUSE_S
            event(_LOG, logging.WARNING, "the registry gives no answer, using what it said before", reason=reason)
