"""What happens to a frame that a signed-in client sends: spec rmb 6.3, step by step.

Everything here is immediate except look-ups, which wait in lanes. This module refuses to know sockets.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from relay.delivery import Delivery
from relay.limits import RateLimiter
from relay.mailboxes import MailboxFailed, MailboxFull, Receipt
from relay.metrics import Metrics
from relay.switch import (
    RATE_LIMITED,
    STORE_FAILED,
    WRONG_SOURCE,
    Refusal,
    lookup_failed,
    mailbox_full,
    refuse_absent,
    refuse_early,
    store_failed,
)
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import (
    Envelope,
    destination_of,
    is_fail_fast,
    parse_envelope,
    relay_error,
    source_of,
    turn_ping,
)
from rmb_peer.protocol.lifetime import ERROR_LIFETIME_S, envelope_ttl_s
from rmb_peer.registry.base import RegistryUnavailable
from rmb_peer.registry.cached import NotCached
from rmb_peer.registry.lanes import Lanes, Outcome
from rmb_peer.registry.lookup import TwinLookup

PAUSE_S_MIN = 0.005
"""Shorter pauses are added up: timers are not exact below this."""

UID_CHARS_LOGGED_MAX = 64
"""Senders choose their uids; a log line need not hold more of one."""

_LOG = get_logger("relay")


@dataclass(frozen=True, slots=True)
class Exchange:
    """What all sessions, and inbound federation, share.

    Attributes:
        delivery: the way into mailboxes.
        lookup: who is twin N.
        domains: the names of this relay, normalised.
        limiter: rate limits, if there are any.
        metrics: counts.
        now_s: Unix seconds.
    """

    delivery: Delivery
    lookup: TwinLookup
    domains: frozenset[str]
    limiter: RateLimiter | None
    metrics: Metrics
    now_s: Callable[[], float]


class Intake:
    """The frames of one session."""

    def __init__(
        self,
        owner: Address,
        exchange: Exchange,
        reply: Callable[[bytes], None],
        spawn: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        """Start for a session that has just signed in.

        Args:
            owner: who signed in.
            exchange: what all sessions share.
            reply: sends an envelope to this very connection, without any mailbox.
            spawn: runs a look-up, which has to end even if the connection ends first.
        """
        self._owner = owner
        self._exchange = exchange
        self._reply = reply
        self._pause_s = 0.0
        self._lanes: Lanes[tuple[Envelope, bytes]] = Lanes(exchange.lookup, self._on_lookup, spawn)

    async def room(self) -> None:
        """Wait while more of this client's envelopes are held than may be. Then read on."""
        await self._lanes.room()
        await self._exchange.delivery.room()
        if self._pause_s >= PAUSE_S_MIN:
            pause_s, self._pause_s = self._pause_s, 0.0
            await asyncio.sleep(pause_s)

    def frame(self, data: bytes) -> None:
        """Take one binary frame.

        Raises:
            InvalidPayloadData: it is no envelope; the connection has to end (step 2).
        """
        envelope = parse_envelope(data)
        exchange = self._exchange
        now_s = exchange.now_s()
        if exchange.limiter is not None and not exchange.limiter.allow(self._owner.twin, len(data), now_s):
            self._refuse(envelope, RATE_LIMITED)
        elif not envelope.HasField("source") or source_of(envelope) != self._owner:
            self._refuse(envelope, WRONG_SOURCE)
        elif envelope.WhichOneof("message") == "ping":
            log_routed(envelope, "pong")
            self._reply(turn_ping(envelope).SerializeToString())  # to this session and nobody else (spec rmb 6.5)
        elif refusal := refuse_early(envelope, destination_of(envelope), int(now_s)):
            self._refuse(envelope, refusal)
        else:
            self._route(envelope, data)

    def _route(self, envelope: Envelope, data: bytes) -> None:
        """Spec rmb 6.4. A lane that waits for the same destination comes first, or the order would change."""
        destination = destination_of(envelope)
        if not self._lanes.busy(destination.twin):
            if self._exchange.delivery.connected(destination):
                self._deliver(envelope, data, "session")
                return
            twin = self._exchange.lookup.peek(destination.twin)
            if not isinstance(twin, NotCached):
                self._exchange.metrics.cache_hits += 1
                self._on_lookup((envelope, data), twin)
                return
            self._exchange.metrics.cache_misses += 1
        self._lanes.put(destination.twin, (envelope, data), len(data))

    def _on_lookup(self, waiting: tuple[Envelope, bytes], outcome: Outcome) -> None:
        envelope, data = waiting
        if self._exchange.delivery.connected(destination_of(envelope)):
            self._deliver(envelope, data, "session")
        elif isinstance(outcome, RegistryUnavailable):
            self._refuse(envelope, lookup_failed(outcome.detail))
        elif refusal := refuse_absent(outcome, self._exchange.domains, is_fail_fast(envelope)):
            self._refuse(envelope, refusal)
        else:
            self._deliver(envelope, data, "mailbox")

    def _deliver(self, envelope: Envelope, data: bytes, how: str) -> None:
        """Forward the bytes as they came, never a new serialisation (spec rmb 2.2)."""
        lifetime_s = envelope_ttl_s(envelope, int(self._exchange.now_s())) or 0
        destination = destination_of(envelope)

        def on_stored(stored: "asyncio.Future[Receipt]") -> None:
            error = MailboxFailed("cancelled") if stored.cancelled() else stored.exception()
            if error is None:
                log_routed(envelope, how)
            elif isinstance(error, MailboxFull):
                self._refuse(envelope, mailbox_full(destination, str(error)))
            else:
                self._refuse(envelope, store_failed(destination, str(error)))

        self._pause_s += self._exchange.delivery.pace_s(destination)
        self._exchange.delivery.deliver(destination, data, lifetime_s).add_done_callback(on_stored)

    def _refuse(self, envelope: Envelope, refusal: Refusal) -> None:
        """Tell the requester; only requests are answered (spec rmb 6.3)."""
        log_routed(envelope, "refused", refusal.text)
        self._exchange.metrics.refusals[refusal.reason] += 1
        if envelope.WhichOneof("message") != "request":
            return
        error = relay_error(envelope.uid, refusal.text, int(self._exchange.now_s()), self._owner).SerializeToString()
        if refusal.reason == STORE_FAILED:
            self._reply(error)  # the store is what fails; the connection may still stand
            return

        def on_stored(stored: "asyncio.Future[Receipt]") -> None:
            if stored.cancelled() or stored.exception() is not None:
                self._reply(error)

        self._exchange.delivery.deliver(self._owner, error, ERROR_LIFETIME_S).add_done_callback(on_stored)


def log_routed(envelope: Envelope, how: str, reason: str | None = None) -> None:
    """The line that tracing follows: where an envelope went."""
    if not _LOG.isEnabledFor(logging.DEBUG):
        return
    event(
        _LOG,
        logging.DEBUG,
        "routed",
        uid=envelope.uid[:UID_CHARS_LOGGED_MAX],
        source=printable(source_of(envelope)),
        destination=printable(destination_of(envelope)),
        kind=envelope.WhichOneof("message") or "none",
        how=how,
        reason=reason,
    )


def printable(address: Address) -> str:
    """An address for logs: session ids are chosen by strangers and may hold line breaks, or be long."""
    text = str(address)[:UID_CHARS_LOGGED_MAX]
    return text if text.isprintable() else ascii(text)
