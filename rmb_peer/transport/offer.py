"""Whether to offer rmb.2 to a relay. It is offered always, except for a while after that seems to have done harm.

A server that does not know a subprotocol ignores the offer (RFC 6455, 4.2.2). Some refuse the handshake instead, and
some select whatever is offered first and then do not speak it. The next attempt goes without; if that fails as well,
it was not the offer.
"""

from collections.abc import Callable, Sequence

from websockets.exceptions import ConnectionClosed, InvalidHeader, InvalidStatus, NegotiationError

from rmb_peer.protocol.link.endings import LinkBroken
from rmb_peer.transport.refused import REFUSAL_HEADER

WITHOUT_S = 600.0
"""How long a relay is spared the offer. A guess: relays are seldom replaced by ours, and rmb.1 works meanwhile."""

_OTHER_REASONS = frozenset({401, 429, 502, 503, 504})
"""What relays and the web servers in front of them answer for other reasons: a bad token, too many, away."""

_CHAIN_FAILED = b"failed to get twin"
"""Begin of the body of a relay that could not look us up (spec rmb 4.3, row 4)."""

_NOT_UNDERSTOOD = frozenset({1002, 1003, 1007})
"""Close codes of a server that cannot make sense of our first frame (RFC 6455, 7.4.1)."""


class Offer:
    """What is offered to one relay."""

    def __init__(self, protocols: Sequence[str], clock: Callable[[], float]) -> None:
        """Offer these.

        Args:
            protocols: subprotocols.
            clock: monotonic seconds.
        """
        self._protocols = tuple(protocols)
        self._clock = clock
        self._without_until_s = clock()
        self._offered: tuple[str, ...] = ()

    def make(self) -> tuple[str, ...]:
        """What to offer in the attempt that begins now."""
        self._offered = self._protocols if self._clock() >= self._without_until_s else ()
        return self._offered

    def failed(self, error: Exception, understood: bool) -> bool:
        """An attempt, or the connection made by it, has failed.

        Args:
            error: how.
            understood: whether the relay had shown that it speaks what it selected.

        Returns:
            whether the next attempt goes without the offer because of this.
        """
        if not _may_be_the_offer(error, understood):
            return False
        self._without_until_s = self._clock() + (WITHOUT_S if self._offered else 0.0)
        return bool(self._offered)


def _may_be_the_offer(error: Exception, understood: bool) -> bool:
    match error:
        case InvalidStatus():
            response = error.response
            return (
                response.status_code >= 400
                and response.status_code not in _OTHER_REASONS
                and REFUSAL_HEADER not in response.headers
                and not bytes(response.body or b"").startswith(_CHAIN_FAILED)
            )
        case NegotiationError():
            return True
        case InvalidHeader():
            return error.name.lower() == "sec-websocket-protocol"
        case LinkBroken():
            return not understood
        case ConnectionClosed():
            return not understood and error.rcvd is not None and error.rcvd.code in _NOT_UNDERSTOOD
        case _:
            return False
