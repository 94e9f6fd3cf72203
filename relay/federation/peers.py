"""The keys of other relays: asked for when needed, remembered, and asked for again when they seem to have changed.

Whoever posts names the relay whose key is fetched, so strangers could make this relay ask any host for anything, again
and again. Therefore: one question at a time per relay, none for a while after a failure, a bound per address that
causes them, a bound on all together. A key that is known already needs none of it, so nobody can talk a relay out of
being recognised.

This module refuses to know how a key is fetched (`well_known.py` does), and what it is good for.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from relay.claim_limit import ClaimLimit
from relay.tasks import end as end_tasks
from rmb_peer.protocol.errors import PeerError
from rmb_peer.registry.lru import Lru

FRESH_S = 600.0
"""A key older than this is used, and asked for again meanwhile. A guess; a changed key is noticed before that, since
signatures fail."""

STALE_S = 24 * 3600.0
"""An older one is not used before its relay has answered. A guess: the outage of a web server in front of a relay."""

REFETCH_S = 10.0
"""A key this young is not doubted when a signature fails; a guess. It bounds what bad signatures can make us ask."""

FAILED_S = 10.0
"""How long a failure counts before the relay is asked again; a guess: a restart."""

KEYS_MAX = 5000
"""Keys remembered, 0.2 KiB each; a guess: the existing network has tens of relays."""

FAILURES_MAX = 5000
"""Failures remembered; the oldest are forgotten first."""

ASKING_MAX = 16
"""Questions under way at once; a guess."""

NEW_PER_MINUTE = 10.0
"""Questions that one address may cause: a guess; a host has one relay, or a few."""

ALL_PER_MINUTE = 120.0
"""Questions that all addresses together may cause: two a second, which no web server notices. A guess."""

ADDRESSES_MAX = 10_000
"""Addresses remembered for the bound above."""


class KeyUnknown(PeerError):
    """The key of a relay is not known. `str()` says why, in a form that may be shown to whoever asked for it.

    Attributes:
        final: the relay answers and publishes none, or must not be asked; else it may work later.
        after_s: when to try again.
    """

    code = 401

    def __init__(self, text: str, *, final: bool, after_s: float = FAILED_S) -> None:
        super().__init__(text)
        self.final = final
        self.after_s = after_s


@dataclass(frozen=True, slots=True)
class _Known:
    key: bytes
    at: float


@dataclass(frozen=True, slots=True)
class _Failed:
    error: KeyUnknown
    at: float


class RelayKeys:
    """Keys by the name of the relay."""

    def __init__(
        self,
        fetch: Callable[[str], Awaitable[bytes]],
        clock: Callable[[], float],
        *,
        keys_max: int = KEYS_MAX,
        failures_max: int = FAILURES_MAX,
        asking_max: int = ASKING_MAX,
        new_per_minute: float = NEW_PER_MINUTE,
        all_per_minute: float = ALL_PER_MINUTE,
    ) -> None:
        """Start without any.

        Args:
            fetch: asks a relay for its key, with bounds on time and size; raises `KeyUnknown`.
            clock: seconds of a monotonic clock.
            keys_max, failures_max, asking_max, new_per_minute, all_per_minute: see the constants.
        """
        self._fetch = fetch
        self._clock = clock
        self._known: Lru[str, _Known] = Lru(keys_max)
        self._failed: Lru[str, _Failed] = Lru(failures_max)
        self._asking: dict[str, asyncio.Task[bytes | KeyUnknown]] = {}
        self._asking_max = asking_max
        self._per_address = ClaimLimit(new_per_minute, ADDRESSES_MAX)
        self._together = ClaimLimit(all_per_minute, 1)

    def __len__(self) -> int:
        """Keys that are remembered."""
        return len(self._known)

    async def key(self, name: str, asker: str) -> bytes:
        """The key of a relay.

        Args:
            name: of the relay, normalised.
            asker: address of whoever makes us ask.

        Raises:
            KeyUnknown: it is not known.
        """
        known = self._known.get(name)
        age_s = 0.0 if known is None else self._clock() - known.at
        if known is None or age_s >= STALE_S:
            return await self._ask(name, asker)
        if age_s >= FRESH_S:
            with suppress(KeyUnknown):  # another time
                self._question(name, asker)
        return known.key

    async def newer_key(self, name: str, than: bytes, asker: str) -> bytes | None:
        """Another key than the one with which a signature failed; `None` when the relay still has that one.

        Args:
            name: of the relay, normalised.
            than: what `key` said.
            asker: address of whoever makes us ask.

        Raises:
            KeyUnknown: the relay has to be asked, and that fails.
        """
        known = self._known.get(name)
        if known is not None and known.key != than:
            return known.key
        if known is not None and self._clock() - known.at < REFETCH_S:
            return None
        key = await self._ask(name, asker)
        return None if key == than else key

    async def close(self) -> None:
        """Break off what is under way."""
        await end_tasks(list(self._asking.values()))

    async def _ask(self, name: str, asker: str) -> bytes:
        found = await asyncio.shield(self._question(name, asker))  # others may wait for it, too
        if isinstance(found, KeyUnknown):
            raise KeyUnknown(str(found), final=found.final, after_s=found.after_s)
        return found

    def _question(self, name: str, asker: str) -> "asyncio.Task[bytes | KeyUnknown]":
        """The one that is under way, or a new one."""
        now = self._clock()
        failed = self._failed.get(name)
        if failed is not None and now - failed.at < FAILED_S:
            raise KeyUnknown(str(failed.error), final=failed.error.final, after_s=failed.at + FAILED_S - now)
        return self._asking.get(name) or self._start(name, asker, now)

    def _start(self, name: str, asker: str, now: float) -> "asyncio.Task[bytes | KeyUnknown]":
        if wait_s := self._per_address.take(asker, now):
            raise KeyUnknown("too many relays with unknown keys from your address", final=False, after_s=wait_s)
        if wait_s := self._together.take("", now):
            raise KeyUnknown("too many relays with unknown keys", final=False, after_s=wait_s)
        if len(self._asking) >= self._asking_max:
            raise KeyUnknown("too many relays with unknown keys", final=False, after_s=1.0)
        task = self._asking[name] = asyncio.create_task(self._fetch_key(name))
        task.add_done_callback(lambda _: self._asking.pop(name, None))
        return task

    async def _fetch_key(self, name: str) -> bytes | KeyUnknown:
        try:
            key = await self._fetch(name)
        except KeyUnknown as error:
            self._failed.put(name, _Failed(error, self._clock()))
            if error.final:
                self._known.drop(name)
            return error
        self._failed.drop(name)
        self._known.put(name, _Known(key, self._clock()))
        return key
