"""Mailboxes in memory, for tests and for trying things out: they end with the process. See `mailboxes`."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from relay.mailboxes import (
    ENTRIES_MAX,
    LIFETIME_S,
    LIFETIME_S_MAX,
    PAGE_BYTES_MAX,
    PAGE_ENTRIES_MAX,
    START,
    Entry,
    EntryId,
    MailboxFull,
    Page,
    Receipt,
)
from rmb_peer.protocol.address import Address


@dataclass(slots=True)
class _Mailbox:
    entries: deque[Entry] = field(default_factory=deque)
    ends_at_s: float = 0.0


class MemoryMailboxes:
    """`Mailboxes` in a dictionary."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Start empty; `clock` tells Unix seconds."""
        self._clock = clock
        self._mailboxes: dict[Address, _Mailbox] = {}
        self._last: EntryId = START

    def append(self, owner: Address, data: bytes, lifetime_s: int) -> "asyncio.Future[Receipt]":
        """See `Mailboxes.append`."""
        now_s = self._clock()
        self._forget_ended(now_s)
        mailbox = self._mailboxes.setdefault(owner, _Mailbox())
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        if len(mailbox.entries) >= ENTRIES_MAX:
            future.set_exception(MailboxFull())
            return future
        mailbox.ends_at_s = max(mailbox.ends_at_s, now_s + min(max(lifetime_s, LIFETIME_S), LIFETIME_S_MAX))
        mailbox.entries.append(Entry(self._next_id(now_s), data))
        future.set_result(Receipt(self._last, len(mailbox.entries)))
        return future

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
        if mailbox := self._mailboxes.get(owner):
            gone = set(ids)
            mailbox.entries = deque(entry for entry in mailbox.entries if entry.id not in gone)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    async def ping(self) -> None:
        """See `Mailboxes.ping`; memory is always there."""

    async def close(self) -> None:
        """See `Mailboxes.close`; nothing is ever under way."""

    def _next_id(self, now_s: float) -> EntryId:
        milliseconds = int(now_s * 1000)
        last_ms, counter = self._last
        self._last = (milliseconds, 0) if milliseconds > last_ms else (last_ms, counter + 1)
        return self._last

    def _forget_ended(self, now_s: float) -> None:
        for owner in [owner for owner, mailbox in self._mailboxes.items() if mailbox.ends_at_s <= now_s]:
            del self._mailboxes[owner]
