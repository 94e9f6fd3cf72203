"""The envelopes that another relay sends over its link to us: the rules of a post (`inbound`), the endings of rmb.2.

- The destination must be ours, and only errors may come without a twin's signature. Nothing is ever forwarded to a
  third relay.
- Once an envelope was refused with a time to wait (its mailbox is full, its rate is too high), whatever comes for the
  same twin on the same connection is, too: it must not overtake. The other relay sends them again, in order, on a new
  connection. A rate concerns all twins alike.

This module refuses to know sockets, and how the other relay has proven its name.
"""

from collections.abc import Callable, Coroutine
from dataclasses import replace

from relay.acknowledged_intake import AcknowledgedIntake, Client
from relay.exchange import Exchange
from relay.federation.inbound import refuse_foreign, refuse_unsigned
from relay.switch import OFFLINE, RETRY_STORE_MS, Refusal, refuse_early
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import Envelope, destination_of, is_fail_fast
from rmb_peer.registry.base import RegistryUnavailable
from rmb_peer.registry.lanes import Outcome

NO_TWIN = Address(0)
"""Whom a relay speaks for: nobody (spec rmb 6.3: what a relay itself says has source 0)."""

PUT_OFF_MAX = 4096
"""Twins whose envelopes are held back on one connection; with more, everybody's are. As many as a window has."""

BEHIND = Refusal(
    "behind", "an envelope before this one has to be sent again first, on a new link", retry_after_ms=RETRY_STORE_MS
)
"""It would overtake one that was put off."""


class LinkIntake(AcknowledgedIntake):
    """The envelopes of one connection."""

    def __init__(
        self,
        exchange: Exchange,
        other: Client,
        spawn: Callable[[Coroutine[None, None, None]], object],
        *,
        message_bytes_max: int,
        refuse_rate: Callable[[], Refusal | None],
    ) -> None:
        """Start with a connection that was just made.

        Args:
            exchange: what all sessions share.
            other: hears how each envelope has ended.
            spawn: runs a look-up, which has to end even if the connection ends first.
            message_bytes_max: larger envelopes are refused.
            refuse_rate: counts an envelope against the rate of the other relay; says so when that is too high.
        """
        relays_have_their_own = replace(exchange, rates=None, limiter=None)
        super().__init__(NO_TWIN, relays_have_their_own, other, spawn, message_bytes_max=message_bytes_max)
        self._refuse_rate = refuse_rate
        self._put_off: set[int] = set()
        self._all_put_off = False

    def _short_cut(self, envelope: Envelope, data: bytes, number: int, now: int) -> bool:
        """None: every envelope is looked at."""
        return False

    def _take(self, envelope: Envelope, data: bytes, ticket: int, now_s: float) -> None:
        destination = destination_of(envelope)
        if self._all_put_off or destination.twin in self._put_off:
            self._refuse(envelope, BEHIND, ticket)
        elif refusal := self._refuse_rate():
            self._all_put_off = True
            self._refuse(envelope, refusal, ticket)
        elif envelope.WhichOneof("message") == "ping":
            self._pong(envelope, ticket)
        elif refusal := self._refuse_early(envelope, destination, int(now_s)):
            self._refuse(envelope, refusal, ticket)
        else:
            self._route(envelope, data, destination, ticket)

    def _refuse_early(self, envelope: Envelope, destination: Address, now_s: int) -> Refusal | None:
        refusal = refuse_unsigned(envelope) or refuse_early(envelope, destination, now_s)
        if (
            refusal is None
            and is_fail_fast(envelope)
            and not self._delivery.connected(destination)
            and self._exchange.presence.peek(destination) is False
        ):
            return OFFLINE
        return refusal

    def _on_lookup(self, waiting: tuple[Envelope, bytes, Address, int], outcome: Outcome) -> None:
        envelope, data, destination, ticket = waiting
        session = self._delivery.session(destination)
        if session is not None:
            self._to_session(envelope, data, destination, session, ticket)
        elif self._exchange.presence.peek(destination):
            self._store(envelope, data, destination, "elsewhere", ticket)
        elif is_fail_fast(envelope):
            self._refuse(envelope, OFFLINE, ticket)
        elif not isinstance(outcome, RegistryUnavailable) and (
            refusal := refuse_foreign(outcome, self._exchange.domains)
        ):
            self._refuse(envelope, refusal, ticket)
        else:  # it may well belong here while nobody can tell
            self._store(envelope, data, destination, "mailbox", ticket)

    def _refuse(self, envelope: Envelope, refusal: Refusal, ticket: int) -> None:
        if refusal.retry_after_ms:
            self._put_off.add(destination_of(envelope).twin)
            self._all_put_off = self._all_put_off or len(self._put_off) >= PUT_OFF_MAX
        super()._refuse(envelope, refusal, ticket)
