"""Puts envelopes into mailboxes and hands them to whoever is connected. It refuses to know why they go there."""

import asyncio
from functools import partial

from relay.mailboxes import ENTRIES_MAX, Entry, Mailboxes, Receipt
from relay.metrics import Metrics
from relay.sessions import Sessions
from rmb_peer.protocol.address import Address

PACED_DEPTH = ENTRIES_MAX // 2
"""Entries that wait for a connected client before its senders are slowed down; a guess."""

PACE_S_MAX = 0.02
"""Pause per envelope when the mailbox is nearly full: 50 a second, which nearly every client takes; a guess."""


class Delivery:
    """The one way into a mailbox."""

    def __init__(self, mailboxes: Mailboxes, sessions: Sessions, metrics: Metrics) -> None:
        """Join what stores with who is connected."""
        self._mailboxes = mailboxes
        self._sessions = sessions
        self._metrics = metrics

    def connected(self, owner: Address) -> bool:
        """Whether this session is connected to this process."""
        return self._sessions.get(owner) is not None

    def pace_s(self, owner: Address) -> float:
        """How long a sender should pause after an envelope for this session.

        A connected client that is behind is given time, so that a burst does not fill its mailbox while it reads; the
        further behind, the more. One that does not keep up even so ends with a full mailbox, and senders are told.
        """
        session = self._sessions.get(owner)
        if session is None or session.depth <= PACED_DEPTH:
            return 0.0
        return PACE_S_MAX * (session.depth - PACED_DEPTH) / (ENTRIES_MAX - PACED_DEPTH)

    async def room(self) -> None:
        """Wait while the store is behind; see `Mailboxes.room`."""
        await self._mailboxes.room()

    def deliver(self, owner: Address, data: bytes, lifetime_s: int) -> "asyncio.Future[Receipt]":
        """Append to a mailbox; if the session is connected, its feed hears of it. See `Mailboxes.append`."""
        appended = self._mailboxes.append(owner, data, lifetime_s)
        appended.add_done_callback(partial(self._on_appended, owner, data))
        return appended

    def _on_appended(self, owner: Address, data: bytes, appended: "asyncio.Future[Receipt]") -> None:
        if appended.cancelled() or appended.exception() is not None:
            self._metrics.append_failures += 1
            return
        self._metrics.message_rx += 1
        self._metrics.message_rx_bytes += len(data)
        session = self._sessions.get(owner)
        if session is not None:
            receipt = appended.result()
            session.depth = receipt.depth
            session.feed.offer(Entry(receipt.id, data))
