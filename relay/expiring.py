"""Envelopes that waited for too long are not delivered: mailboxes that leave them out, and the rule.

An envelope is worth nothing from the end of its lifetime on (spec rmb 2.4), or once it has waited for as long as the
operator keeps anything. Whoever reads a mailbox meets such entries; they are removed, which frees their room, and only
the reader who really removed one tells its sender. What is handed over from memory is not looked at again: it was alive
a moment before, and receivers check for themselves.

This module refuses to know where mailboxes are, and how senders are told.
"""

import asyncio
from collections.abc import Callable, Sequence

from relay.mailboxes import Entry, EntryId, Mailboxes, Page, Receipt, Then, Why
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import Envelope, parse_envelope
from rmb_peer.protocol.errors import InvalidPayloadData

OnGone = Callable[[Envelope, Why], None]
"""Hears of an envelope that was dropped."""

_NEVER_S = 2**63


class Expiry:
    """When an entry is worth nothing any more. Pure; the time comes in."""

    def __init__(self, retain_age_s: int) -> None:
        """Set the longest time that anything waits."""
        self._retain_age_s = retain_age_s

    def look_at(self, entry: Entry, now_s: int) -> tuple[int, Envelope | None, Why]:
        """Examine one entry.

        Returns:
            the Unix second from which on it is worth nothing; the envelope, if it is one and has come to that; why.
            What is no envelope ends by its age alone, and nobody can be told.
        """
        ends_at_s = entry.id[0] // 1000 + self._retain_age_s
        why: Why = "age"
        try:
            envelope = parse_envelope(entry.data)
        except InvalidPayloadData:
            return ends_at_s, None, why
        own_end_s = envelope.timestamp + envelope.expiration
        if own_end_s < ends_at_s:
            ends_at_s, why = own_end_s, "expired"
        return ends_at_s, envelope if ends_at_s <= now_s else None, why


class Sieve:
    """Parts what has expired from what has not, and drops it."""

    def __init__(self, mailboxes: Mailboxes, expiry: Expiry, on_gone: OnGone, now_s: Callable[[], float]) -> None:
        """Set up.

        Args:
            mailboxes: where to remove entries.
            expiry: the rule.
            on_gone: hears, once, of each envelope that was dropped.
            now_s: Unix seconds.
        """
        self._mailboxes = mailboxes
        self._expiry = expiry
        self._on_gone = on_gone
        self._now_s = now_s

    async def sift(self, owner: Address, entries: Sequence[Entry]) -> tuple[list[Entry], int]:
        """Drop the entries of a mailbox that have expired.

        Returns:
            those that have not, and the Unix second at which the first of them will.

        Raises:
            MailboxFailed: the store does not answer; what has expired may be there still.
        """
        now_s = int(self._now_s())
        kept: list[Entry] = []
        earliest_s = _NEVER_S
        gone: dict[EntryId, tuple[Envelope | None, Why]] = {}
        for entry in entries:
            ends_at_s, envelope, why = self._expiry.look_at(entry, now_s)
            if ends_at_s <= now_s:
                gone[entry.id] = (envelope, why)
            else:
                kept.append(entry)
                earliest_s = min(earliest_s, ends_at_s)
        if gone:
            for entry_id in await self._mailboxes.remove(owner, list(gone)):
                envelope, why = gone[entry_id]
                self._on_gone(envelope or Envelope(), why)
        return kept, earliest_s


class ExpiringMailboxes:
    """`Mailboxes` whose pages leave out what has expired."""

    def __init__(self, mailboxes: Mailboxes, sieve: Sieve) -> None:
        """Put a sieve before the pages of other mailboxes, which are not owned."""
        self._mailboxes = mailboxes
        self._sieve = sieve

    def append(
        self, owner: Address, data: bytes, lifetime_s: int, *, connected: bool = False
    ) -> "asyncio.Future[Receipt]":
        """See `Mailboxes.append`."""
        return self._mailboxes.append(owner, data, lifetime_s, connected=connected)

    def put(self, owner: Address, data: bytes, lifetime_s: int, then: Then, *, connected: bool = False) -> None:
        """See `Mailboxes.put`."""
        self._mailboxes.put(owner, data, lifetime_s, then, connected=connected)

    def has_room(self) -> bool:
        """See `Mailboxes.has_room`."""
        return self._mailboxes.has_room()

    async def room(self) -> None:
        """See `Mailboxes.room`."""
        await self._mailboxes.room()

    async def read(self, owner: Address, after: EntryId) -> Page:
        """See `Mailboxes.read`; what has expired is removed, or reading fails."""
        page = await self._mailboxes.read(owner, after)
        entries, _ = await self._sieve.sift(owner, page.entries)
        return Page(entries, page.last, page.complete)

    def delete(self, owner: Address, ids: Sequence[EntryId]) -> "asyncio.Future[None]":
        """See `Mailboxes.delete`."""
        return self._mailboxes.delete(owner, ids)

    async def remove(self, owner: Address, ids: Sequence[EntryId]) -> list[EntryId]:
        """See `Mailboxes.remove`."""
        return await self._mailboxes.remove(owner, ids)

    async def ping(self) -> None:
        """See `Mailboxes.ping`."""
        await self._mailboxes.ping()

    async def close(self) -> None:
        """See `Mailboxes.close`."""
        await self._mailboxes.close()
