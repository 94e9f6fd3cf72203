"""The frames of a client that speaks rmb.1: one envelope each, nothing is acknowledged, failed requests are answered
with an error envelope (spec rmb 6.3). See `routing` for the steps."""

import asyncio
from collections.abc import Callable, Coroutine

from relay.exchange import Exchange
from relay.log_lines import log_routed
from relay.mailboxes import Receipt
from relay.routing import Routing
from relay.switch import STORE_FAILED, Refusal
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import Envelope, parse_envelope, relay_error, turn_ping
from rmb_peer.protocol.lifetime import ERROR_LIFETIME_S

__all__ = ["Exchange", "Intake"]


class Intake(Routing[None]):
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
        super().__init__(owner, exchange, spawn)
        self._reply = reply

    def frame(self, data: bytes) -> None:
        """Take one binary frame.

        Raises:
            InvalidPayloadData: it is no envelope; the connection has to end (step 2).
        """
        self._take(parse_envelope(data), data, None, self._exchange.now_s())

    def _pong(self, envelope: Envelope, ticket: None) -> None:
        self._reply(turn_ping(envelope).SerializeToString())  # to this session and nobody else (spec rmb 6.5)

    def _stored(self, ticket: None) -> None:
        """Nobody is told."""

    def _refuse(self, envelope: Envelope, refusal: Refusal, ticket: None) -> None:
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

        self._delivery.deliver(self._owner, error, ERROR_LIFETIME_S).add_done_callback(on_stored)
