"""The contract of mailboxes: undelivered envelopes per session, oldest first (spec rmb 6.7).

A mailbox belongs to a session, connected or not. Entries have ids that grow in the order of appending. Reading removes
nothing: an entry goes when it is deleted, or with the whole mailbox when none of them can be alive any more. How much
is kept is bounded, see `retention`. What does not fit is refused, or older entries of the same mailbox are dropped for
it; either way whoever sent the one that is lost can be told (spec rmb 10.5).
Implementations: `redis_mailboxes`, `memory_mailboxes`; `expiring` leaves out what has expired.

This module refuses to know who reads, and when an entry may be deleted.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from relay.retention import RETAIN_AGE_S, RETAIN_COUNT
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.errors import LocalError

EntryId = tuple[int, int]
"""Milliseconds and a counter, as Redis numbers stream entries; tuples compare in order of age."""

Limit = Literal["count", "bytes", "twin_count", "twin_bytes", "mailboxes", "store"]
"""Which of the limits of `retention` an append meets: those of its mailbox, of its twin, of the store."""

Why = Literal["expired", "age", "cap"]
"""Why an entry was dropped: its own lifetime is over, it has waited too long, it had to make room."""

OnDropped = Callable[[bytes], None]
"""Hears of an entry that was dropped for a newer one."""

OnFull = Callable[[Address, Limit], None]
"""Hears of an envelope that did not fit, and which limit it met."""

START: EntryId = (0, 0)
"""Before every entry."""

ENTRIES_MAX = RETAIN_COUNT
"""Entries of one mailbox, unless the operator decides otherwise."""

LIFETIME_S = 3600
"""A mailbox goes this long after the last append at the earliest (spec rmb 6.7)."""

SLACK_S = 900
"""How much longer than its entries a mailbox lives, so that somebody finds them and tells their senders. A guess:
several rounds of the janitor."""

LOOK_THROUGH_S = 3600
"""A mailbox in which anything waits is looked through this long after the last time, whatever the counters say: other
programs may have changed it, or whoever wanted to look was killed. A guess."""

LIFETIME_S_MAX = RETAIN_AGE_S
"""No envelope waits longer, unless the operator decides otherwise."""

LIMITS: dict[Limit, tuple[str, int]] = {
    "count": ("mailbox is full: {} messages wait", 5),
    "bytes": ("mailbox is full: at most {} bytes may wait", 5),
    "twin_count": ("too much waits for this twin: at most {} messages over all its sessions", 30),
    "twin_bytes": ("too much waits for this twin: at most {} bytes over all its sessions", 30),
    "mailboxes": ("too much waits for this twin: at most {} of its sessions may have messages waiting", 60),
    "store": ("this relay is full: at most {} bytes may wait", 60),
}
"""What an append may run into: what its sender reads, and the seconds until another try may help. These are guesses: a
client that reads at all has taken thousands within 5 s; expired messages go within a minute or so."""

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
    """There is no room.

    Attributes:
        limit: which one was met.
        retry_after_s: when another try may help.
    """

    def __init__(self, limit: Limit, value: int) -> None:
        """Say which limit was met, and how much it allows."""
        text, self.retry_after_s = LIMITS[limit]
        super().__init__(f"{text.format(value)}; try again in {self.retry_after_s} s")
        self.limit = limit


class Receipt(NamedTuple):
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


class Entry(NamedTuple):
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


@dataclass(frozen=True, slots=True)
class Stored:
    """How much is stored."""

    count: int = 0
    bytes: int = 0


Then = Callable[[Receipt | Exception], None]
"""Hears how an append went."""


class Mailboxes(Protocol):
    """All mailboxes of one store. Calls may overlap; appends take effect, and are answered, in their order."""

    def append(
        self, owner: Address, data: bytes, lifetime_s: int, *, connected: bool = False
    ) -> "asyncio.Future[Receipt]":
        """Put an envelope into a mailbox. All appends of one turn of the event loop travel together.

        Args:
            owner: the session it is for.
            data: the serialised envelope.
            lifetime_s: how long the envelope lives; the mailbox lives at least as long, up to the longest time that
                anything is kept.
            connected: whether the session takes what it is sent. Then only the limits of its own mailbox and of the
                store count: strangers who fill the other mailboxes of its twin must not cut it off.

        Returns:
            a future, which fails with `MailboxFailed`, above all `MailboxFull`.
        """
        ...

    def put(self, owner: Address, data: bytes, lifetime_s: int, then: Then, *, connected: bool = False) -> None:
        """`append`, for those who have many: futures cost more than all else.

        Args:
            owner, data, lifetime_s, connected: as above.
            then: hears, later and once, how it went; in the order of the appends.
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

    async def remove(self, owner: Address, ids: Sequence[EntryId]) -> list[EntryId]:
        """Remove entries, trying once, and tell which of them were there.

        Raises:
            MailboxFailed: the store does not answer; they may be there or not.
        """
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
