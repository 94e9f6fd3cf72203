"""What happens to an envelope that a signed-in client sends: spec rmb 6.3 and 6.4, step by step.

Everything here is immediate except look-ups, which wait in lanes. How a sender is answered differs: `intake` (rmb.1)
and `acknowledged_intake` (rmb.2) say that. This module refuses to know sockets.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Generic, TypeVar

from relay.exchange import Exchange
from relay.log_lines import log_routed
from relay.mailboxes import MailboxFailed, MailboxFull, Receipt
from relay.presence import LookupWithPresence
from relay.sessions import Session
from relay.switch import (
    RATE_LIMITED,
    WRONG_SOURCE,
    Refusal,
    lookup_failed,
    mailbox_full,
    refuse_absent,
    refuse_early,
    store_failed,
)
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import Envelope, destination_of, is_fail_fast
from rmb_peer.protocol.lifetime import envelope_ttl_s
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.base import RegistryUnavailable
from rmb_peer.registry.cached import NotCached
from rmb_peer.registry.lanes import Lanes, Outcome

PAUSE_S_MIN = 0.005
"""Shorter pauses are added up: timers are not exact below this."""

Ticket = TypeVar("Ticket")
"""What tells one envelope of a sender from another."""


class Routing(ABC, Generic[Ticket]):
    """The envelopes of one session."""

    def __init__(
        self,
        owner: Address,
        exchange: Exchange,
        spawn: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        """Start for a session that has just signed in.

        Args:
            owner: who signed in.
            exchange: what all sessions share.
            spawn: runs a look-up, which has to end even if the connection ends first.
        """
        self._owner = owner
        self._exchange = exchange
        self._delivery = exchange.delivery
        self._pause_s = 0.0
        self._lanes: Lanes[tuple[Envelope, bytes, Address, Ticket]] = Lanes(
            LookupWithPresence(exchange.lookup, exchange.presence), self._on_lookup, spawn
        )

    async def room(self) -> None:
        """Wait while more of this client's envelopes are held than may be. Then read on."""
        await self._lanes.room()
        await self._delivery.room()
        if self._pause_s >= PAUSE_S_MIN:
            pause_s, self._pause_s = self._pause_s, 0.0
            await asyncio.sleep(pause_s)

    @property
    def has_room(self) -> bool:
        """Whether `room` would not wait."""
        return self._pause_s < PAUSE_S_MIN and self._lanes.has_room and self._delivery.has_room

    # --- how the sender is answered -----------------------------------------------------------------------------------

    @abstractmethod
    def _pong(self, envelope: Envelope, ticket: Ticket) -> None:
        """An envelope ping, to be turned round (spec rmb 6.5)."""

    @abstractmethod
    def _stored(self, ticket: Ticket) -> None:
        """It is in a mailbox."""

    @abstractmethod
    def _refuse(self, envelope: Envelope, refusal: Refusal, ticket: Ticket) -> None:
        """It goes nowhere."""

    def _hand_over(self, envelope: Envelope, data: bytes, session: Session, ticket: Ticket) -> bool:
        """Give it to a connected session without storing it; false when that cannot be."""
        return False

    # --- the steps ----------------------------------------------------------------------------------------------------

    def _take(self, envelope: Envelope, data: bytes, ticket: Ticket, now_s: float) -> None:
        """Steps 3 to 7 of spec rmb 6.3."""
        limiter = self._exchange.limiter
        if limiter is not None and not limiter.allow(self._owner.twin, len(data), now_s):
            self._refuse(envelope, RATE_LIMITED, ticket)
            return
        if not self._is_from_owner(envelope):
            self._refuse(envelope, WRONG_SOURCE, ticket)
            return
        if envelope.WhichOneof("message") == "ping":
            log_routed(envelope, "pong")
            self._pong(envelope, ticket)
            return
        destination = destination_of(envelope)
        if refusal := refuse_early(envelope, destination, int(now_s)):
            self._refuse(envelope, refusal, ticket)
        else:
            self._route(envelope, data, destination, ticket)

    def _is_from_owner(self, envelope: Envelope) -> bool:
        if not envelope.HasField("source"):
            return False
        source, owner = envelope.source, self._owner
        if source.twin != owner.twin:
            return False
        return (source.connection if source.HasField("connection") else None) == owner.session

    def _route(self, envelope: Envelope, data: bytes, destination: Address, ticket: Ticket) -> None:
        """Spec rmb 6.4. A lane that waits for the same destination comes first, or the order would change."""
        if not self._lanes.busy(destination.twin):
            session = self._delivery.session(destination)
            if session is not None:
                self._to_session(envelope, data, destination, session, ticket)
                return
            twin = self._exchange.lookup.peek(destination.twin)
            if not isinstance(twin, NotCached) and not self._may_be_elsewhere(envelope, destination, twin):
                self._exchange.metrics.cache_hits += 1
                self._on_lookup((envelope, data, destination, ticket), twin)
                return
            self._exchange.metrics.cache_misses += 1
        self._lanes.put(destination.twin, (envelope, data, destination, ticket), len(data))

    def _on_lookup(self, waiting: tuple[Envelope, bytes, Address, Ticket], outcome: Outcome) -> None:
        envelope, data, destination, ticket = waiting
        session = self._delivery.session(destination)
        if session is not None:
            self._to_session(envelope, data, destination, session, ticket)
        elif self._exchange.presence.peek(destination):
            self._store(envelope, data, destination, "elsewhere", ticket)
        elif isinstance(outcome, RegistryUnavailable):
            self._refuse(envelope, lookup_failed(outcome.detail), ticket)
        elif refusal := refuse_absent(outcome, self._exchange.domains, is_fail_fast(envelope)):
            self._refuse(envelope, refusal, ticket)
        else:
            self._store(envelope, data, destination, "mailbox", ticket)

    def _may_be_elsewhere(self, envelope: Envelope, destination: Address, twin: Twin | None) -> bool:
        """Whether it would be refused here, and only the store can tell if another process has the destination."""
        return (
            self._exchange.presence.peek(destination) is None
            and refuse_absent(twin, self._exchange.domains, is_fail_fast(envelope)) is not None
        )

    def _to_session(
        self, envelope: Envelope, data: bytes, destination: Address, session: Session, ticket: Ticket
    ) -> None:
        if session.handover is None or not self._hand_over(envelope, data, session, ticket):
            self._store(envelope, data, destination, "session", ticket)

    def _store(self, envelope: Envelope, data: bytes, destination: Address, how: str, ticket: Ticket) -> None:
        """Forward the bytes as they came, never a new serialisation (spec rmb 2.2)."""
        lifetime_s = envelope_ttl_s(envelope, int(self._exchange.now_s())) or 0

        def on_stored(stored: "asyncio.Future[Receipt]") -> None:
            error = MailboxFailed("cancelled") if stored.cancelled() else stored.exception()
            if error is None:
                log_routed(envelope, how)
                self._stored(ticket)
            elif isinstance(error, MailboxFull):
                self._refuse(envelope, mailbox_full(destination, str(error)), ticket)
            else:
                self._refuse(envelope, store_failed(destination, str(error)), ticket)

        self._pause_s += self._delivery.pace_s(destination)
        self._delivery.deliver(destination, data, lifetime_s).add_done_callback(on_stored)
