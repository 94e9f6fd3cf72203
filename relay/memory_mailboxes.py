"""Mailboxes in memory, for tests and for trying things out: they end with the process. See `mailboxes`."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from relay.mailboxes import (
    LIFETIME_S,
    PAGE_BYTES_MAX,
    PAGE_ENTRIES_MAX,
    SLACK_S,
    START,
    Entry,
    EntryId,
    Limit,
    MailboxFull,
    OnDropped,
    Page,
    Receipt,
    Then,
)
from relay.retention import Retention
from rmb_peer.protocol.address import Address


@dataclass(slots=True)
class _Mailbox:
    entries: deque[Entry] = field(default_factory=deque)
    bytes: int = 0
    ends_at_s: float = 0.0


class MemoryMailboxes:
    """`Mailboxes` in a dictionary."""

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        *,
        retention: Retention | None = None,
        on_dropped: OnDropped = lambda data: None,
    ) -> None:
        """Start empty.

        Args:
            clock: tells Unix seconds.
            retention: how much is kept.
            on_dropped: told of each entry that was dropped for a newer one.
        """
        self._clock = clock
        self._retention = retention or Retention()
        self._on_dropped = on_dropped
        self._mailboxes: dict[Address, _Mailbox] = {}
        self._last: EntryId = START

    def append(
        self, owner: Address, data: bytes, lifetime_s: int, *, connected: bool = False
    ) -> "asyncio.Future[Receipt]":
        """See `Mailboxes.append`."""
        now_s = self._clock()
        self._forget_ended(now_s)
        mailbox = self._mailboxes.get(owner) or _Mailbox()
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        size = len(data)
        limit = self._limit(owner, mailbox, size, connected)
        while limit and self._can_drop(owner, mailbox, size, limit):
            oldest = mailbox.entries.popleft()
            mailbox.bytes -= len(oldest.data)
            self._on_dropped(oldest.data)
            limit = self._limit(owner, mailbox, size, connected)
        if limit:
            future.set_exception(MailboxFull(limit, self._retention.value(limit)))
            return future
        self._mailboxes[owner] = mailbox
        lifetime_s = min(lifetime_s, self._retention.age_s)
        mailbox.ends_at_s = max(mailbox.ends_at_s, now_s + max(lifetime_s + SLACK_S, LIFETIME_S))
        mailbox.entries.append(Entry(self._next_id(now_s), data))
        mailbox.bytes += size
        future.set_result(Receipt(self._last, len(mailbox.entries)))
        return future

    def put(self, owner: Address, data: bytes, lifetime_s: int, then: Then, *, connected: bool = False) -> None:
        """See `Mailboxes.put`."""

        def tell(appended: "asyncio.Future[Receipt]") -> None:
            error = appended.exception()
            then(error if isinstance(error, Exception) else appended.result())

        self.append(owner, data, lifetime_s, connected=connected).add_done_callback(tell)

    def has_room(self) -> bool:
        """See `Mailboxes.has_room`."""
        return True

    async def room(self) -> None:
        """See `Mailboxes.room`; an append is done at once, so there always is."""

    async def read(self, owner: Address, after: EntryId) -> Page:
        """See `Mailboxes.read`."""
        self._forget_ended(self._clock())
        mailbox = self._mailboxes.get(owner)
        newer = [entry for entry in mailbox.entries if entry.id > after] if mailbox else []
        entries: list[Entry] = []
        size = 0
        for entry in islice(newer, PAGE_ENTRIES_MAX):
            entries.append(entry)
            size += len(entry.data)
            if size >= PAGE_BYTES_MAX:
                break
        return Page(entries, entries[-1].id if entries else after, len(entries) == len(newer))

    def delete(self, owner: Address, ids: Sequence[EntryId]) -> "asyncio.Future[None]":
        """See `Mailboxes.delete`."""
        self._remove(owner, ids)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    async def remove(self, owner: Address, ids: Sequence[EntryId]) -> list[EntryId]:
        """See `Mailboxes.remove`."""
        return self._remove(owner, ids)

    async def ping(self) -> None:
        """See `Mailboxes.ping`; memory is always there."""

    async def close(self) -> None:
        """See `Mailboxes.close`; nothing is ever under way."""

    def _remove(self, owner: Address, ids: Sequence[EntryId]) -> list[EntryId]:
        mailbox = self._mailboxes.get(owner)
        if mailbox is None:
            return []
        gone = set(ids)
        there = [entry for entry in mailbox.entries if entry.id in gone]
        mailbox.entries = deque(entry for entry in mailbox.entries if entry.id not in gone)
        mailbox.bytes -= sum(len(entry.data) for entry in there)
        return [entry.id for entry in there]

    def _limit(self, owner: Address, mailbox: _Mailbox, size: int, connected: bool) -> Limit | None:
        """Which limit stands in the way of one more entry."""
        limits = self._retention
        if len(mailbox.entries) >= limits.count:
            return "count"
        if mailbox.bytes + size > limits.bytes:
            return "bytes"
        if not connected:
            count, size_now, mailboxes = self._of_twin(owner.twin)
            if count >= limits.twin_count:
                return "twin_count"
            if size_now + size > limits.twin_bytes:
                return "twin_bytes"
            if not mailbox.entries and owner.session is not None and mailboxes >= limits.twin_mailboxes:
                return "mailboxes"
        if sum(each.bytes for each in self._mailboxes.values()) + size > limits.stored_bytes:
            return "store"
        return None

    def _can_drop(self, owner: Address, mailbox: _Mailbox, size: int, limit: Limit) -> bool:
        """Whether dropping the oldest entries of this mailbox can make room."""
        limits = self._retention
        if limits.when_full != "drop-oldest" or not mailbox.entries:
            return False
        count, size_now, _ = self._of_twin(owner.twin)
        match limit:
            case "count":
                return True
            case "bytes":
                return size <= limits.bytes
            case "twin_count":
                return count - len(mailbox.entries) < limits.twin_count
            case "twin_bytes":
                return size <= limits.bytes and size_now - mailbox.bytes + size <= limits.twin_bytes
            case _:
                return False

    def _of_twin(self, twin: int) -> tuple[int, int, int]:
        """Entries, bytes, mailboxes."""
        mailboxes = [each for owner, each in self._mailboxes.items() if owner.twin == twin and each.entries]
        return sum(len(each.entries) for each in mailboxes), sum(each.bytes for each in mailboxes), len(mailboxes)

    def _next_id(self, now_s: float) -> EntryId:
        milliseconds = int(now_s * 1000)
        last_ms, counter = self._last
        self._last = (milliseconds, 0) if milliseconds > last_ms else (last_ms, counter + 1)
        return self._last

    def _forget_ended(self, now_s: float) -> None:
        for owner in [owner for owner, mailbox in self._mailboxes.items() if mailbox.ends_at_s <= now_s]:
            del self._mailboxes[owner]
