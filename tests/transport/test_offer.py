"""When rmb.2 is offered: always, except after the offer seems to have done harm."""

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosedError, InvalidHeader, InvalidStatus, InvalidUpgrade, NegotiationError
from websockets.frames import Close
from websockets.http11 import Response

from rmb_peer.protocol.link.endings import LinkBroken
from rmb_peer.transport.offer import WITHOUT_S, Offer

OURS = ("rmb.2",)


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def refused(status: int, body: bytes = b"") -> InvalidStatus:
    return InvalidStatus(Response(status, "", Headers(), body))


def closed(code: int) -> ConnectionClosedError:
    return ConnectionClosedError(Close(code, ""), None)


@pytest.mark.parametrize(
    "error",
    [
        refused(400),
        refused(404),
        refused(426),
        refused(500, b"unexpected header"),
        NegotiationError("unsupported subprotocol: x"),
        InvalidHeader("Sec-WebSocket-Protocol", "a, b"),
        LinkBroken("no frame"),
        closed(1002),
        closed(1003),
        closed(1007),
    ],
    ids=repr,
)
def test_after_harm_the_offer_is_left_out_for_a_while(error: Exception) -> None:
    """The next attempts go without; later it is tried again, because relays are replaced."""
    clock = Clock()
    offer = Offer(OURS, clock)
    assert offer.make() == OURS
    assert offer.failed(error, understood=False)
    assert offer.make() == ()
    clock.now_s += WITHOUT_S - 1
    assert offer.make() == ()
    clock.now_s += 1
    assert offer.make() == OURS


@pytest.mark.parametrize(
    "error",
    [
        refused(302),
        refused(401, b"invalid jwt: jwt has expired"),
        refused(429),
        refused(500, b"failed to get twin: chain is away"),
        refused(502),
        refused(503, b"relay is shutting down"),
        refused(504),
        InvalidHeader("Sec-WebSocket-Accept", "x"),
        InvalidUpgrade("Upgrade", "x"),
        closed(1001),
        closed(4001),
        ConnectionClosedError(None, None),
        ConnectionRefusedError(),
        TimeoutError(),
    ],
    ids=repr,
)
def test_other_troubles_do_not_cost_the_acknowledged_link(error: Exception) -> None:
    """A relay of ours that is away, or refuses for a reason of its own, is offered rmb.2 again."""
    offer = Offer(OURS, Clock())
    offer.make()
    assert not offer.failed(error, understood=False)
    assert offer.make() == OURS


@pytest.mark.parametrize("error", [LinkBroken("no frame"), closed(1002)], ids=repr)
def test_who_has_spoken_it_keeps_the_offer(error: Exception) -> None:
    """A relay that has sent a frame speaks rmb.2, whatever happened afterwards."""
    offer = Offer(OURS, Clock())
    offer.make()
    assert not offer.failed(error, understood=True)
    assert offer.make() == OURS


def test_if_it_fails_without_the_offer_as_well_it_was_not_the_offer() -> None:
    """The two ways take turns until one works; an outage in between changes nothing."""
    offer = Offer(OURS, Clock())
    for _ in range(3):
        assert offer.make() == OURS
        assert offer.failed(refused(403), understood=False)
        assert offer.make() == ()
        assert not offer.failed(ConnectionRefusedError(), understood=False)
        assert offer.make() == ()
        assert not offer.failed(refused(403), understood=False)


def test_nothing_to_offer() -> None:
    """Without protocols nothing is offered, whatever happens."""
    offer = Offer((), Clock())
    assert offer.make() == ()
    assert not offer.failed(refused(400), understood=False)
    assert offer.make() == ()


def test_a_refusal_of_the_relay_itself_is_not_about_the_offer() -> None:
    """A web server in front may dislike the offer; a relay of ours that refuses says so in a header."""
    for headers, gives_up in ((Headers(), True), (Headers({"RMB-Refusal": "not_admitted"}), False)):
        offer = Offer(OURS, Clock())
        assert offer.make() == OURS
        assert offer.failed(InvalidStatus(Response(403, "", headers, b"")), understood=False) is gives_up
