"""Puts envelopes into mailboxes and hands them to whoever is connected. It refuses to know why they go there."""

import asyncio
from functools import partial

from relay.mailboxes import Entry, EntryId, Mailboxes
from relay.metrics import Metrics
from relay.sessions import Sessions
from rmb_peer.protocol.address import Address


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

    async def room(self) -> None:
        """Wait while the store is behind; see `Mailboxes.room`."""
        await self._mailboxes.room()

    def deliver(self, owner: Address, data: bytes, lifetime_s: int) -> "asyncio.Future[EntryId]":
        """Append to a mailbox; if the session is connected, its feed hears of it. See `Mailboxes.append`."""
        appended = self._mailboxes.append(owner, data, lifetime_s)
        appended.add_done_callback(partial(self._on_appended, owner, data))
        return appended

    def _on_appended(self, owner: Address, data: bytes, appended: "asyncio.Future[EntryId]") -> None:
        if appended.cancelled() or appended.exception() is not None:
            self._metrics.append_failures += 1
            return
        self._metrics.message_rx += 1
        self._metrics.message_rx_bytes += len(data)
        session = self._sessions.get(owner)
        if session is not None:
            session.feed.offer(Entry(appended.result(), data))
