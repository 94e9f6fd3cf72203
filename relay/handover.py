"""What goes to one client that speaks rmb.2, in which order, and from where.

- *Parcels* are handed over from memory: their sender keeps them until they have ended, so the store is not touched.
  That is only done while nothing older is elsewhere: the mailbox is empty or was taken completely, and nothing for it
  is on its way to the store.
- *Entries* come from the mailbox and stay there until the client has settled them.
- *Pongs* are for this client alone.

Parcels that the client has not settled in time are backed up: appended to the mailbox, in their order. So are all that
are held when anything else is appended to this mailbox, and when the session ends. So nothing younger is ever stored
before a parcel, and a mailbox that outlives this process holds what it holds in the right order.

Nothing here waits. This module refuses to know sockets, and why an envelope goes to this client.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from relay.bell import Bell
from relay.feed import Feed
from relay.horizon import UNKNOWN
from relay.mailboxes import Entry, EntryId, MailboxFailed
from relay.metrics import Metrics
from relay.switch import Refusal, store_failed
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.link.endings import IS_AT_PEER, IS_SAFE, Outcome
from rmb_peer.protocol.link.link import Link

WAITING_MAX = 256
"""Parcels that wait for the client's window (spec rmb 6.10); beyond, envelopes go to the mailbox."""

WAITING_BYTES_MAX = 1024 * 1024
"""Their bytes; a single larger one may wait alone. A guess, as in `feed`."""


class Sender(Protocol):
    """Whoever sent a parcel, and wants to hear how it ended."""

    def settle(self, number: int, outcome: Outcome) -> None:
        """An envelope of this sender has ended."""
        ...

    def refuse(self, number: int, refusal: Refusal) -> None:
        """An envelope of this sender goes nowhere."""
        ...


class Parcel:
    """One envelope that is handed over from memory.

    Attributes:
        data: serialised envelope.
        lifetime_s: for its mailbox, if it has to be stored.
        sender, number: who wants to hear how it ended, and under which number.
        tick: when it came, as its handover counts time.
        came_s: when it came, as the event loop counts time.
        entry: where it is stored, if it is.
        told: whether the sender has heard how it ended.
        ended: whether the client has settled it.
    """

    __slots__ = ("came_s", "data", "ended", "entry", "lifetime_s", "number", "sender", "tick", "told")

    def __init__(self, data: bytes, lifetime_s: int, sender: Sender, number: int) -> None:
        """Begin untold."""
        self.data = data
        self.lifetime_s = lifetime_s
        self.sender = sender
        self.number = number
        self.tick = 0
        self.came_s = 0.0
        self.entry: EntryId | None = None
        self.told = False
        self.ended = False


OnLink = Parcel | EntryId | None
"""What a link knows an envelope by: a parcel, an entry, or nothing for a pong."""


class Depot(Protocol):
    """What a handover needs of `delivery`."""

    def under_way(self, owner: Address) -> int:
        """Appends to this mailbox whose result is not known yet."""
        ...

    def back_up(self, owner: Address, parcel: Parcel, handover: "Handover") -> None:
        """Append it; `backed_up` or `not_backed_up` will be called."""
        ...

    def delete(self, owner: Address, ids: list[EntryId]) -> "asyncio.Future[None]":
        """Remove entries."""
        ...


class Handover:
    """Everything for one client."""

    def __init__(
        self,
        owner: Address,
        link: Link[OnLink],
        feed: Feed,
        depot: Depot,
        metrics: Metrics,
        wake: Callable[[], None],
        *,
        patience_s: float,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        """Start empty.

        Args:
            owner: the client.
            link: to it.
            feed: of its mailbox.
            depot: the store.
            metrics: counts.
            wake: something was put on the link.
            patience_s: for how long at most a parcel is in memory alone.
            now_s: Unix seconds, which entries are numbered by.
        """
        self._owner = owner
        self._outgoing = link.outgoing
        self._feed = feed
        self._depot = depot
        self._metrics = metrics
        self._wake = wake
        self._tick_s = patience_s / 2
        self._now_s = now_s
        self._loop = asyncio.get_running_loop()
        self._tick = 0
        self._timer: asyncio.TimerHandle | None = None
        self._held: dict[Parcel, None] = {}
        """Parcels that are in memory alone, oldest first."""
        self._waiting: list[Parcel] = []
        """Parcels that are not on the link yet."""
        self._waiting_bytes = 0
        self._entries: list[Entry] = []
        """Entries that were taken from the feed and are not on the link yet."""
        self._pongs: list[Parcel] = []
        self._storing = 0
        """Parcels of ours that are on their way to the store."""
        self._nothing_storing = Bell()
        self._closed = False
        self.entries_gone = Bell(rung=True)

    @property
    def waiting(self) -> int:
        """Envelopes that are not on the link yet."""
        return len(self._waiting) + len(self._entries) + len(self._pongs)

    def offer(self, parcel: Parcel, since: int = 0) -> bool:
        """Take an envelope without storing it; false when it has to go to the mailbox.

        Args:
            parcel: the envelope.
            since: when its sender came: what he sent by another process before may be in the mailbox, and we have not
                heard of it; see `horizon`.
        """
        if (
            self._closed
            or self._entries
            or not self._feed.drained
            or self._depot.under_way(self._owner) != self._storing
        ):
            return False
        if self._feed.verified < since:
            if since != UNKNOWN:
                self._feed.look()
            return False
        data = parcel.data
        size_bytes = len(data)
        outgoing, metrics = self._outgoing, self._metrics
        if not self._waiting and outgoing.has_room(size_bytes):
            outgoing.put(parcel, data)
            metrics.message_tx += 1
            metrics.message_tx_bytes += size_bytes
            metrics.written.counts[0] += 1  # at once; the call would cost more than the rest
        elif not self._waiting or (
            len(self._waiting) < WAITING_MAX and self._waiting_bytes + size_bytes <= WAITING_BYTES_MAX
        ):
            self._waiting.append(parcel)
            self._waiting_bytes += size_bytes
        else:
            return False
        parcel.tick = self._tick
        parcel.came_s = self._loop.time()
        self._held[parcel] = None
        metrics.direct += 1
        if self._timer is None:
            self._timer = self._loop.call_later(self._tick_s, self._on_tick)
        self._wake()
        return True

    def add(self, entries: list[Entry]) -> None:
        """The feed gave these; wait for `entries_gone` before it is asked again."""
        self.entries_gone.clear()
        if not self._closed:  # else nothing more is wanted, ever
            self._entries.extend(entries)
            self._wake()

    def pong(self, pong: Parcel) -> None:
        """An envelope for this client alone; its ping has ended once this is on the link."""
        self._pongs.append(pong)
        self._wake()

    def pump(self) -> None:
        """Put on the link what its window takes. What was handed over is older than what the feed gave."""
        link = self._outgoing
        while self._pongs and link.has_room(len(self._pongs[0].data)):
            pong = self._pongs.pop(0)
            self._put(None, pong.data)
            pong.sender.settle(pong.number, IS_AT_PEER)
        while self._waiting and link.has_room(len(self._waiting[0].data)):
            parcel = self._waiting.pop(0)
            self._waiting_bytes -= len(parcel.data)
            self._put(parcel, parcel.data)
            self._metrics.written.add(int((self._loop.time() - parcel.came_s) * 1000))
        if self._waiting or not self._entries:
            return
        while self._entries and link.has_room(len(self._entries[0].data)):
            entry = self._entries.pop(0)
            self._put(entry.id, entry.data)
            self._metrics.written.add(int(self._now_s() * 1000) - entry.id[0])
        if not self._entries:
            self.entries_gone.set()

    def settled(self, entries: list[tuple[OnLink, Outcome]]) -> None:
        """The client has settled these, in whichever way: for a client there is only one (protocol/link, rule 5)."""
        ids: list[EntryId] = []
        held, add = self._held, self._metrics.confirmed.add
        now_s, now_ms = self._loop.time(), int(self._now_s() * 1000)
        for entry, _ in entries:
            if isinstance(entry, Parcel):
                entry.ended = True
                add(int((now_s - entry.came_s) * 1000))
                held.pop(entry, None)
                if entry.entry is not None:
                    ids.append(entry.entry)
                if not entry.told:
                    entry.told = True
                    entry.sender.settle(entry.number, IS_AT_PEER)
            elif entry is not None:
                ids.append(entry)
                add(now_ms - entry[0])
        if ids:
            self._metrics.confirmations += len(ids)
            self._delete(ids)

    def back_up_all(self) -> None:
        """Store everything that is in memory alone."""
        if self._held:
            held, self._held = self._held, {}
            for parcel in held:
                self._back_up(parcel)

    async def all_stored(self) -> None:
        """Store everything that is in memory alone, and wait: a page that is read then holds nothing that the client
        was given already without the feed knowing its id."""
        self.back_up_all()
        while self._storing:
            self._nothing_storing.clear()
            await self._nothing_storing.wait()

    def close(self) -> None:
        """The session has left. What the client settles afterwards still counts. Closing twice is harmless."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting.clear()
        self._entries.clear()
        self.back_up_all()

    def backed_up(self, parcel: Parcel, entry_id: EntryId) -> None:
        """It is stored."""
        self._has_stored()
        parcel.entry = entry_id
        if parcel.ended:
            self._delete([entry_id])
        elif not parcel.told:
            parcel.told = True
            parcel.sender.settle(parcel.number, IS_SAFE)

    def not_backed_up(self, parcel: Parcel, error: BaseException | None) -> None:
        """The store did not take it, and younger ones may be stored by now; so for its sender it ends here.

        If the client still has it on its link, it may arrive nevertheless.
        """
        self._has_stored()
        if not parcel.told:
            parcel.told = True
            parcel.sender.refuse(parcel.number, store_failed(self._owner, str(error or MailboxFailed("cancelled"))))

    def _put(self, entry: OnLink, data: bytes) -> None:
        self._outgoing.put(entry, data)
        self._metrics.message_tx += 1
        self._metrics.message_tx_bytes += len(data)

    def _delete(self, ids: list[EntryId]) -> None:
        deleted = self._depot.delete(self._owner, ids)
        deleted.add_done_callback(lambda _: self._feed.forget(ids))

    def _back_up(self, parcel: Parcel) -> None:
        self._storing += 1
        self._depot.back_up(self._owner, parcel, self)

    def _has_stored(self) -> None:
        self._storing -= 1
        if not self._storing:
            self._nothing_storing.set()

    def _on_tick(self) -> None:
        """A parcel that has seen two ticks has been here for half the patience at least, and for all of it at most."""
        self._timer = None
        self._tick += 1
        late = []
        for parcel in self._held:
            if self._tick - parcel.tick < 2:
                break
            late.append(parcel)
        for parcel in late:
            del self._held[parcel]
            self._back_up(parcel)
        if self._held:
            self._timer = self._loop.call_later(self._tick_s, self._on_tick)
