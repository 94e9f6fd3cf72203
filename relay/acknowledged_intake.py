"""The envelopes of a client that speaks rmb.2: each of them ends, and the client hears how.

See `routing` for the steps. Refusals carry the texts of rmb.1, reach the sender of a response, too, and say when to try
again.
"""

import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Protocol

from relay.exchange import Exchange
from relay.handover import Parcel, Sender
from relay.limits import WINDOW_S
from relay.log_lines import log_routed
from relay.routing import Routing
from relay.sessions import Session
from relay.switch import RATE_LIMITED, Refusal, no_envelope, too_large
from rmb_peer.logs import get_logger
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import Envelope, parse_envelope, turn_ping
from rmb_peer.protocol.errors import InvalidPayloadData
from rmb_peer.protocol.lifetime import envelope_ttl_s
from rmb_peer.protocol.link.endings import IS_SAFE

_LOG = get_logger("relay")


class Client(Sender, Protocol):
    """The connection that the envelopes came on."""

    def pong(self, pong: Parcel) -> None:
        """Send this back, and settle the ping."""
        ...


class Came(Protocol):
    """When the client came; see `horizon`. It becomes known a moment later."""

    since: int


class _NeverElsewhere:
    since = 0


_NEVER_ELSEWHERE = _NeverElsewhere()


class AcknowledgedIntake(Routing[int]):
    """The envelopes of one session; a ticket is the number of one on its link."""

    def __init__(
        self,
        owner: Address,
        exchange: Exchange,
        client: Client,
        spawn: Callable[[Coroutine[None, None, None]], object],
        *,
        message_bytes_max: int,
        session: Session | None = None,
    ) -> None:
        """Start for a session that has just signed in.

        Args:
            owner: who signed in.
            exchange: what all sessions share.
            client: hears how each envelope has ended.
            spawn: runs a look-up, which has to end even if the connection ends first.
            message_bytes_max: larger envelopes are refused.
            session: of the client; `None` when there is only one process.
        """
        super().__init__(owner, exchange, spawn)
        self._client = client
        self._message_bytes_max = message_bytes_max
        self._find = self._delivery.find
        self._came: Came = session or _NEVER_ELSEWHERE

    def take(self, envelopes: list[tuple[int, bytes]]) -> None:
        """Take what one frame held: numbers and bytes."""
        now_s = self._exchange.now_s()
        now = int(now_s)
        allowance = self._allowance
        if allowance is not None and allowance.take_all(len(envelopes), sum(len(data) for _, data in envelopes), now_s):
            allowance = None  # all is paid for
        plain = not self._limited and not _LOG.isEnabledFor(logging.DEBUG)
        for number, data in envelopes:
            if allowance is not None and (too_fast := allowance.take(len(data), now_s)):
                self._refuse_unread(too_fast, number)
                continue
            if len(data) > self._message_bytes_max:
                self._refuse_unread(too_large(self._message_bytes_max), number)
                continue
            try:
                envelope = parse_envelope(data)
            except InvalidPayloadData as error:
                self._refuse_unread(no_envelope(str(error)), number)
                continue
            if not plain or not self._short_cut(envelope, data, number, now):
                self._take(envelope, data, number, now_s)

    def _short_cut(self, envelope: Envelope, data: bytes, number: int, now: int) -> bool:
        """What `_take` does to nearly every envelope, at a third of the cost.

        Returns:
            false when anything is out of the ordinary: then it has to take the long way, and nothing has happened.
        """
        destination = self._ordinary(envelope, now)
        if destination is None:
            return False
        session = self._find(*destination)
        if session is not None and session.handover is not None and not self._lanes.busy(destination.twin):
            lifetime_s = envelope.timestamp + envelope.expiration - now
            if session.handover.offer(Parcel(data, lifetime_s, self._client, number), self._came.since):
                return True
        self._route(envelope, data, destination, number)
        return True

    def _pong(self, envelope: Envelope, ticket: int) -> None:
        self._client.pong(Parcel(turn_ping(envelope).SerializeToString(), 0, self._client, ticket))

    def _stored(self, ticket: int) -> None:
        self._client.settle(ticket, IS_SAFE)

    def _refuse(self, envelope: Envelope, refusal: Refusal, ticket: int) -> None:
        log_routed(envelope, "refused", refusal.text)
        self._refuse_unread(refusal, ticket)

    def _refuse_unread(self, refusal: Refusal, ticket: int) -> None:
        if refusal is RATE_LIMITED:
            now_s = self._exchange.now_s()
            refusal = replace(refusal, retry_after_ms=int((WINDOW_S - now_s % WINDOW_S) * 1000) + 1)
        self._exchange.metrics.refusals[refusal.reason] += 1
        self._client.refuse(ticket, refusal)

    def _hand_over(self, envelope: Envelope, data: bytes, session: Session, ticket: int) -> bool:
        assert session.handover is not None
        lifetime_s = envelope_ttl_s(envelope, int(self._exchange.now_s())) or 0
        if not session.handover.offer(Parcel(data, lifetime_s, self._client, ticket), self._came.since):
            return False
        log_routed(envelope, "direct")
        return True
