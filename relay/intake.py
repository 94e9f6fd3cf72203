"""The frames of a client that speaks rmb.1: one envelope each, nothing is acknowledged, failed requests are answered
with an error envelope (spec rmb 6.3). See `routing` for the steps."""

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


class Intake(Routing[int]):
    """The frames of one session. A ticket is the number of a frame, from 1.

    Attributes:
        frames: how many came.
    """

    def __init__(
        self,
        owner: Address,
        exchange: Exchange,
        reply: Callable[[bytes], None],
        spawn: Callable[[Coroutine[None, None, None]], object],
        dealt_with: Callable[[int], None],
    ) -> None:
        """Start for a session that has just signed in.

        Args:
            owner: who signed in.
            exchange: what all sessions share.
            reply: sends an envelope to this very connection, without any mailbox.
            spawn: runs a look-up, which has to end even if the connection ends first.
            dealt_with: hears, once for each frame that is an envelope, that a killed relay would not lose it any more:
                it is stored, or it will not be and its sender is being told.
        """
        super().__init__(owner, exchange, spawn)
        self.frames = 0
        self._reply = reply
        self._dealt_with = dealt_with

    def frame(self, data: bytes) -> None:
        """Take one binary frame.

        Raises:
            InvalidPayloadData: it is no envelope; the connection has to end (step 2).
        """
        envelope = parse_envelope(data)
        self.frames += 1
        now_s = self._exchange.now_s()
        if self._allowance is not None and (too_fast := self._allowance.take(len(data), now_s)):
            self._refuse(envelope, too_fast, self.frames)
        elif self._limited or (destination := self._ordinary(envelope, int(now_s))) is None:
            self._take(envelope, data, self.frames, now_s)
        else:
            self._route(envelope, data, destination, self.frames)

    def _pong(self, envelope: Envelope, ticket: int) -> None:
        self._reply(turn_ping(envelope).SerializeToString())  # to this session and nobody else (spec rmb 6.5)
        self._dealt_with(ticket)

    def _stored(self, ticket: int) -> None:
        self._dealt_with(ticket)

    def _refuse(self, envelope: Envelope, refusal: Refusal, ticket: int) -> None:
        """Tell the requester; only requests are answered (spec rmb 6.3)."""
        log_routed(envelope, "refused", refusal.text)
        self._exchange.metrics.refusals[refusal.reason] += 1
        if envelope.WhichOneof("message") != "request":
            self._dealt_with(ticket)
            return
        error = relay_error(envelope.uid, refusal.text, int(self._exchange.now_s()), self._owner).SerializeToString()
        if refusal.reason == STORE_FAILED:
            self._reply(error)  # the store is what fails; the connection may still stand
            self._dealt_with(ticket)
            return

        def on_stored(stored: Receipt | Exception) -> None:
            if isinstance(stored, Exception):
                self._reply(error)
            self._dealt_with(ticket)

        self._delivery.deliver_then(self._owner, error, ERROR_LIFETIME_S, on_stored)
