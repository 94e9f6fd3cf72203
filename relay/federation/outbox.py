"""The contract of outboxes: envelopes that wait for other relays, oldest first, one outbox per relay.

They outlive the process, and several processes may share them: one at a time empties an outbox, the one that holds its
lease. A full outbox refuses what is new: whoever sent it is told. Implementation: `redis_outbox`.

This module refuses to know how relays are spoken to.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from relay.federation.speaker import Queued
from rmb_peer.protocol.errors import LocalError

START = "0-0"
"""Before every entry."""

PAGE_ENTRIES_MAX = 64
"""Entries read at once; a guess."""

PAGE_BYTES_MAX = 1024 * 1024
"""A page ends with the entry that reaches this size, so that a page of large ones stays small; a guess."""

LIFETIME_S_MAX = 7 * 24 * 3600
"""No envelope waits for longer, whatever its sender wrote; as in mailboxes."""


class OutboxFailed(LocalError):
    """The store did not do it. The text is fit for a remote requester: it names no address of ours."""


class OutboxFull(OutboxFailed):
    """As much waits as may; the text names the limit."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What the operator wants of one relay.

    Attributes:
        paused: nothing is sent.
        retry: it shall be tried at once.
        drain: everything that waits for it shall leave by another relay, or be given up.
    """

    paused: bool = False
    retry: bool = False
    drain: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """What is known about one outbox.

    Attributes:
        count, size_bytes: what waits.
        oldest_at_s: Unix seconds at which the oldest entry was put; 0 when nothing waits.
        mine: whether the lease is held by whoever asked.
        owner: the process that holds the lease; empty for none.
        health: what `save` wrote last.
        orders: the operator's.
    """

    count: int = 0
    size_bytes: int = 0
    oldest_at_s: float = 0.0
    mine: bool = False
    owner: str = ""
    health: bytes | None = None
    orders: Orders = Orders()


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries, oldest first.

    Attributes:
        entries: those that are entries.
        last: where to continue.
        damaged: ids of what is none.
    """

    entries: list[Queued]
    last: str
    damaged: list[str]


class Outboxes(Protocol):
    """All outboxes of one store. Names of relays are normalised."""

    def put(self, name: str, data: bytes, expires_at_s: int, tried: str = "") -> "asyncio.Future[int]":
        """Append an envelope. All that is put in one turn of the event loop travels together, in order.

        Args:
            name: of the relay.
            data: the envelope as it came.
            expires_at_s: Unix seconds.
            tried: see `Queued`.

        Returns:
            a future: how many wait there now. It fails with `OutboxFull` or `OutboxFailed`.
        """
        ...

    def has_room(self) -> bool:
        """Whether `room` would not wait."""
        ...

    async def room(self) -> None:
        """Wait while more is being put than may be held in memory."""
        ...

    async def read(self, name: str, after: str, entries_max: int = PAGE_ENTRIES_MAX) -> Page:
        """The oldest entries after `after`, up to `entries_max` and to the one that reaches `PAGE_BYTES_MAX`.

        Raises:
            OutboxFailed: the store does not answer.
        """
        ...

    async def remove(self, name: str, ids: Sequence[str]) -> None:
        """Take entries out. Those that are gone already do not matter.

        Raises:
            OutboxFailed: the store does not answer.
        """
        ...

    async def names(self) -> list[str]:
        """The relays for which something waits, or waited, in order.

        Raises:
            OutboxFailed: the store does not answer.
        """
        ...

    async def look(self, names: Sequence[str], *, lease_ms: int = 0) -> list[View]:
        """What is known about these.

        Args:
            names: of relays.
            lease_ms: when above 0, the leases of those where something waits are taken if they are free, and those
                held already are renewed, for this long.

        Raises:
            OutboxFailed: the store does not answer.
        """
        ...

    async def release(self, name: str) -> None:
        """Give a lease back; harmless if it is not ours.

        Raises:
            OutboxFailed: the store does not answer.
        """
        ...

    async def save(self, name: str, health: bytes) -> None:
        """Remember how the relay is doing.

        Raises:
            OutboxFailed: the store does not answer.
        """
        ...

    async def order(self, name: str, *, paused: bool | None = None, retry: bool = False, drain: bool = False) -> None:
        """Leave word for the process that empties this outbox.

        Raises:
            OutboxFailed: the store does not answer.
        """
        ...

    async def obeyed(self, name: str) -> None:
        """`retry` and `drain` have been done.

        Raises:
            OutboxFailed: the store does not answer.
        """
        ...

    async def forget(self, name: str) -> None:
        """Drop a relay from `names`, unless something waits for it.

        Raises:
            OutboxFailed: the store does not answer.
        """
        ...

    def calls(self) -> AsyncIterator[str]:
        """Names of relays for which any process has just put something; ends never. Some may be missed."""
        ...
