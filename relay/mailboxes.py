"""The contract of mailboxes: undelivered envelopes per session, oldest first (spec rmb 6.7).

A mailbox belongs to a session, connected or not. Entries have ids that grow in the order of appending. Reading removes
nothing: an entry goes when it is deleted, or with the whole mailbox some time after the last append. A full mailbox
refuses what is new: whoever sent it can be told, while pushing out the oldest would be silent (spec rmb 10.5).
Implementations: `redis_mailboxes`, `memory_mailboxes`.

This module refuses to know who reads, and when an entry may be deleted.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rmb_peer.protocol.address import Address
from rmb_peer.protocol.errors import LocalError

EntryId = tuple[int, int]
"""Milliseconds and a counter, as Redis numbers stream entries; tuples compare in order of age."""

START: EntryId = (0, 0)
"""Before every entry."""

ENTRIES_MAX = 10_000
"""Entries of one mailbox; more are refused. Other relays trim to about this number (spec rmb 6.7)."""

LIFETIME_S = 3600
"""A mailbox goes this long after the last append (spec rmb 6.7), unless an envelope in it lives longer."""

LIFETIME_S_MAX = 7 * 24 * 3600
"""No envelope keeps a mailbox for longer. A guess: gateways give half an hour, but senders may write any number."""

APPEND_S_MAX = 20.0
"""How long an append is tried while the store does not answer. A guess: an embedded server is back within a second, one
whose disk is busy within several."""

PAGE_ENTRIES_MAX = 100
"""Entries read at once (spec rmb 6.7)."""

PAGE_BYTES_MAX = 1024 * 1024
"""A page ends with the entry that reaches this size, so that a page of large ones stays small; a guess."""


class MailboxFailed(LocalError):
    """The store did not do it. The text is fit for a remote requester: it names no address of ours."""


class MailboxFull(MailboxFailed):
    """The mailbox holds as many entries as it may."""

    def __init__(self) -> None:
        super().__init__(f"mailbox is full: {ENTRIES_MAX} messages wait")


@dataclass(frozen=True, slots=True)
class Receipt:
    """An envelope is stored.

    Attributes:
        id: of its entry.
        depth: entries in the mailbox, this one included.
        foreign: when the session is connected to this process: the number of its registration, and how many entries
            other processes have appended since.
    """

    id: EntryId
    depth: int
    foreign: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One envelope in a mailbox."""

    id: EntryId
    data: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries of a mailbox, oldest first.

    Attributes:
        entries: at most `PAGE_ENTRIES_MAX`, and no more after `PAGE_BYTES_MAX` is reached.
        last: where to continue.
        complete: there was nothing after `last` at that moment.
    """

    entries: list[Entry]
    last: EntryId
    complete: bool


class Mailboxes(Protocol):
    """All mailboxes of one store. Calls may overlap; appends take effect, and are answered, in their order."""

    def append(self, owner: Address, data: bytes, lifetime_s: int) -> "asyncio.Future[Receipt]":
        """Put an envelope into a mailbox. All appends of one turn of the event loop travel together.

        Args:
            owner: the session it is for.
            data: the serialised envelope.
            lifetime_s: how long the envelope lives; the mailbox lives at least as long, up to `LIFETIME_S_MAX`.

        Returns:
            a future, which fails with `MailboxFailed`.
        """
        ...

    def has_room(self) -> bool:
        """Whether `room` would not wait."""
        ...

    async def room(self) -> None:
        """Wait while more is being appended than may be held in memory. Whoever reads from outside asks this first."""
        ...

    async def read(self, owner: Address, after: EntryId) -> Page:
        """The oldest entries after `after`.

        Raises:
            MailboxFailed: the store does not answer.
        """
        ...

    def delete(self, owner: Address, ids: Sequence[EntryId]) -> "asyncio.Future[None]":
        """Remove entries. This is tried until it succeeds; the future fails only when the store is closed first."""
        ...

    async def ping(self) -> None:
        """Ask the store for a sign of life.

        Raises:
            MailboxFailed: there is none.
        """
        ...

    async def close(self) -> None:
        """Finish what is under way, as far as the store answers, and end. Closing twice is harmless."""
        ...
