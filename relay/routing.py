"""What happens to an envelope that a signed-in client sends: spec rmb 6.3 and 6.4, step by step.

Everything here is immediate except look-ups, which wait in lanes. How a sender is answered differs: `intake` (rmb.1)
and `acknowledged_intake` (rmb.2) say that. This module refuses to know sockets.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Generic, TypeVar

from relay.exchange import Exchange
from relay.federation.outbound import refusal_of
from relay.log_lines import log_routed
from relay.mailboxes import LIFETIME_S_MAX, MailboxFailed, MailboxFull, Receipt
from relay.presence import LookupWithPresence
from relay.sessions import Session
from relay.switch import (
    OFFLINE,
    RATE_LIMITED,
    SESSION_CHARS_MAX,
    WRONG_SOURCE,
    Refusal,
    is_foreign,
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
        self._allowance = None if exchange.rates is None else exchange.rates[owner.twin]
        self._slowed_since_s: float | None = None
        self._lanes: Lanes[tuple[Envelope, bytes, Address, Ticket]] = Lanes(
            LookupWithPresence(exchange.lookup, exchange.presence), self._on_lookup, spawn
        )

    async def room(self, held_since_s: float | None = None) -> None:
        """Wait while more of this client's envelopes are held than may be, or the twin is too fast. Then read on.

        Args:
            held_since_s: since when what comes next has been waiting, by the event loop's clock; `None` if that cannot
                be known, because it is still in the kernel.
        """
        await self._lanes.room()
        await self._delivery.room()
        if self._exchange.federation is not None:
            await self._exchange.federation.room()
        if self._pause_s >= PAUSE_S_MIN:
            pause_s, self._pause_s = self._pause_s, 0.0
            await asyncio.sleep(pause_s)
        if self._allowance is not None and (debt_s := self._allowance.wait_s(self._exchange.now_s())) >= PAUSE_S_MIN:
            await self._slow_down(debt_s, held_since_s)
        else:
            self._slowed_since_s = None

    async def _slow_down(self, debt_s: float, held_since_s: float | None) -> None:
        """The twin sends faster than it may: wait until it owes nothing, but not for ever.

        What has been held back for long enough is let through to be refused. Where that cannot be known, it is taken to
        be as long as the client has been slowed down: its pings wait behind its envelopes.
        """
        assert self._exchange.rates is not None
        now_s = asyncio.get_running_loop().time()
        if self._slowed_since_s is None:
            self._slowed_since_s = now_s
        since_s = self._slowed_since_s if held_since_s is None else held_since_s
        pause_s = min(debt_s, since_s + self._exchange.rates.slow_s_max - now_s)
        if pause_s > 0:
            self._exchange.metrics.slowed_s += pause_s
            await asyncio.sleep(pause_s)

    @property
    def has_room(self) -> bool:
        """Whether `room` would not wait."""
        if self._allowance is not None and self._allowance.wait_s(self._exchange.now_s()) >= PAUSE_S_MIN:
            return False
        federation = self._exchange.federation
        others_have_room = federation is None or federation.has_room
        return self._pause_s < PAUSE_S_MIN and self._lanes.has_room and self._delivery.has_room and others_have_room

    def roomy(self) -> bool:
        """Like `room`, for whoever does not wait: false when it would."""
        if not self.has_room:
            return False
        self._slowed_since_s = None
        return True

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

    @property
    def _limited(self) -> bool:
        """Whether envelopes are counted (`limits`), which only the long way does."""
        limiter = self._exchange.limiter
        return limiter is not None and not limiter.unlimited

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

    def _ordinary(self, envelope: Envelope, now_s: int) -> Address | None:
        """What `_take` finds out about nearly every envelope, at a third of the cost.

        Returns:
            where it goes; `None` when anything is out of the ordinary. Then it has to take the long way.
        """
        source, destination, owner = envelope.source, envelope.destination, self._owner
        if source.twin != owner.twin or envelope.WhichOneof("message") == "ping":
            return None
        if (source.connection if source.HasField("connection") else None) != owner.session:
            return None
        name = destination.connection if destination.HasField("connection") else None
        if not destination.twin or (name is not None and len(name) > SESSION_CHARS_MAX):
            return None
        if not 0 < envelope.timestamp + envelope.expiration - now_s < LIFETIME_S_MAX:
            return None
        return Address(destination.twin, name)

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
        elif outcome is not None and is_foreign(outcome, self._exchange.domains) and self._exchange.federation:
            self._federate(envelope, data, outcome, ticket)
        elif refusal := refuse_absent(outcome, self._exchange.domains, is_fail_fast(envelope)):
            if refusal is OFFLINE and outcome is not None and self._is_elsewhere(outcome):
                self._federate(envelope, data, outcome, ticket, absent_here=True)
                return
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

    def _is_elsewhere(self, twin: Twin) -> bool:
        """Whether a twin that is not connected here may be at another relay of its record (spec rmb 10.8). Only for
        `fail-fast`: that relay hands it over or says no, and never stores it or hands it on."""
        federation = self._exchange.federation
        return federation is not None and len(twin.relays) > 1 and federation.reaches(twin)

    def _federate(
        self, envelope: Envelope, data: bytes, twin: Twin, ticket: Ticket, *, absent_here: bool = False
    ) -> None:
        """Step 3 of spec rmb 6.4: into the outbox of one of its relays."""
        federation = self._exchange.federation
        assert federation is not None

        def on_put(put: "asyncio.Future[int]") -> None:
            error = MailboxFailed("cancelled") if put.cancelled() else put.exception()
            if error is None:
                self._pause_s += federation.pace_s(put.result())
                log_routed(envelope, "outbox")
                self._stored(ticket)
            else:
                self._refuse(envelope, refusal_of(error), ticket)

        expires_at_s = envelope.timestamp + envelope.expiration
        federation.put(twin, data, expires_at_s, absent_here=absent_here).add_done_callback(on_put)

    def _store(self, envelope: Envelope, data: bytes, destination: Address, how: str, ticket: Ticket) -> None:
        """Forward the bytes as they came, never a new serialisation (spec rmb 2.2)."""
        lifetime_s = envelope_ttl_s(envelope, int(self._exchange.now_s())) or 0

        def on_stored(stored: Receipt | Exception) -> None:
            if not isinstance(stored, Exception):
                log_routed(envelope, how)
                self._stored(ticket)
            elif isinstance(stored, MailboxFull):
                self._refuse(envelope, mailbox_full(destination, str(stored), stored.retry_after_s * 1000), ticket)
            else:
                self._refuse(envelope, store_failed(destination, str(stored)), ticket)

        self._pause_s += self._delivery.deliver_then(destination, data, lifetime_s, on_stored)
