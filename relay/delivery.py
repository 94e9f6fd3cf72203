"""Puts envelopes into mailboxes and hands them to whoever is connected. It refuses to know why they go there."""

import asyncio
from functools import partial

from relay.batcher import settle
from relay.handover import Handover, Parcel
from relay.mailboxes import ENTRIES_MAX, Entry, EntryId, Mailboxes, Receipt, Then
from relay.metrics import Metrics
from relay.presence import ALONE, Presence, connected_elsewhere
from relay.presence_script import foreign_of
from relay.sessions import Session, Sessions
from rmb_peer.protocol.address import Address

PACED_DEPTH = ENTRIES_MAX // 2
"""Entries that wait for a connected client before its senders are slowed down; a guess."""

PACE_S_MAX = 0.02
"""Pause per envelope when the mailbox is nearly full: 50 a second, which nearly every client takes; a guess."""


class Delivery:
    """The one way into a mailbox."""

    def __init__(
        self,
        mailboxes: Mailboxes,
        sessions: Sessions,
        metrics: Metrics,
        *,
        entries_max: int = ENTRIES_MAX,
        presence: Presence = ALONE,
    ) -> None:
        """Join what stores with who is connected.

        Args:
            mailboxes: what stores.
            sessions: who is connected.
            metrics: counts.
            entries_max: entries of one mailbox.
            presence: where sessions are that are not connected to this process.
        """
        self._entries_max = entries_max
        self._paced_depth = entries_max * PACED_DEPTH // ENTRIES_MAX
        self._mailboxes = mailboxes
        self._sessions = sessions
        self._metrics = metrics
        self._presence = presence
        self._under_way: dict[Address, int] = {}
        """Appends whose result is not known yet, per mailbox; none is 0."""

    def session(self, owner: Address) -> Session | None:
        """The live session with exactly this identity, if it is connected to this process."""
        return self._sessions.get(owner)

    def find(self, twin: int, session: str | None) -> Session | None:
        """`session`, see `Sessions.find`."""
        return self._sessions.find(twin, session)

    def connected(self, owner: Address) -> bool:
        """Whether this session is connected to this process."""
        return self._sessions.get(owner) is not None

    async def connected_anywhere(self, owner: Address) -> bool:
        """Whether this session is connected to any process of this relay."""
        return self.connected(owner) or await connected_elsewhere(self._presence, owner)

    @property
    def has_room(self) -> bool:
        """Whether `room` would not wait."""
        return self._mailboxes.has_room()

    async def room(self) -> None:
        """Wait while the store is behind; see `Mailboxes.room`."""
        await self._mailboxes.room()

    def under_way(self, owner: Address) -> int:
        """Appends to this mailbox whose result is not known yet."""
        return self._under_way.get(owner, 0) if self._under_way else 0

    def deliver(self, owner: Address, data: bytes, lifetime_s: int) -> "asyncio.Future[Receipt]":
        """Append to a mailbox; if the session is connected, its feed hears of it. See `Mailboxes.append`.

        What the session has been handed without the store is older, so it is appended first.
        """
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self.deliver_then(owner, data, lifetime_s, partial(settle, future))
        return future

    def deliver_then(self, owner: Address, data: bytes, lifetime_s: int, then: Then) -> float:
        """`deliver`, for those who have many; see `Mailboxes.put`. `then` hears after the feed.

        Returns:
            how long its sender should pause.
        """
        session = self._sessions.get(owner)
        if session is not None and session.handover is not None:
            session.handover.back_up_all()
        self._append(owner, data, lifetime_s, session, partial(self._on_appended, owner, data, then))
        return self._pace_s(session)

    def back_up(self, owner: Address, parcel: Parcel, handover: Handover) -> None:
        """Append what a session has been handed without the store."""
        self._metrics.backed_up += 1
        then = partial(self._on_backed_up, owner, parcel, handover)
        self._append(owner, parcel.data, parcel.lifetime_s, self._sessions.get(owner), then)

    def delete(self, owner: Address, ids: list[EntryId]) -> "asyncio.Future[None]":
        """Remove entries; see `Mailboxes.delete`."""
        return self._mailboxes.delete(owner, ids)

    def _pace_s(self, session: Session | None) -> float:
        """How long a sender should pause after an envelope for this session.

        A connected client that is behind is given time, so that a burst does not fill its mailbox while it reads; the
        further behind, the more. One that does not keep up even so ends with a full mailbox, and senders are told.
        """
        if session is None or session.depth <= self._paced_depth:
            return 0.0
        return PACE_S_MAX * (session.depth - self._paced_depth) / (self._entries_max - self._paced_depth)

    def _append(self, owner: Address, data: bytes, lifetime_s: int, session: Session | None, then: Then) -> None:
        self._under_way[owner] = self._under_way.get(owner, 0) + 1
        connected = session is not None or bool(self._presence.peek(owner))
        self._mailboxes.put(owner, data, lifetime_s, then, connected=connected)

    def _on_appended(self, owner: Address, data: bytes, then: Then, appended: Receipt | Exception) -> None:
        self._has_ended(owner, data, appended)
        if not isinstance(appended, Exception):
            session = self._sessions.get(owner)
            if session is not None:
                session.depth = appended.depth
                session.feed.offer(Entry(appended.id, data), foreign_of(appended, session.generation))
        then(appended)

    def _on_backed_up(self, owner: Address, parcel: Parcel, handover: Handover, receipt: Receipt | Exception) -> None:
        self._has_ended(owner, parcel.data, receipt)
        if isinstance(receipt, Exception):
            handover.not_backed_up(parcel, receipt)
            return
        session = self._sessions.get(owner)
        if session is not None:
            session.depth = receipt.depth
            foreign = foreign_of(receipt, session.generation)
            if session.handover is handover:
                session.feed.has(receipt.id, foreign)
            elif not parcel.ended:
                session.feed.offer(Entry(receipt.id, parcel.data), foreign)
        handover.backed_up(parcel, receipt.id)

    def _has_ended(self, owner: Address, data: bytes, appended: Receipt | Exception) -> None:
        left = self._under_way[owner] - 1
        if left:
            self._under_way[owner] = left
        else:
            del self._under_way[owner]
        if isinstance(appended, Exception):
            self._metrics.append_failures += 1
        else:
            self._metrics.message_rx += 1
            self._metrics.message_rx_bytes += len(data)
