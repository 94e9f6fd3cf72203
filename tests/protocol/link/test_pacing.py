"""When acknowledgements leave: alone after a moment, with company or in need at once."""

import pytest

from rmb_peer.protocol.link.endings import IS_AT_PEER, IS_SAFE, Ending, Outcome, Window
from rmb_peer.protocol.link.link import RUNS_MAX, Link
from rmb_peer.protocol.link.pacing import EARLY_S, HELD_MAX, HELD_S
from rmb_peer.protocol.pb import link_pb2 as pb

REFUSED = Outcome(Ending.REFUSED, 1, "no")


def receiver(count: int, size_bytes: int = 1, *, window: Window | None = None, answers: bool = True) -> Link[str]:
    """An end to which so many envelopes came, and that has said nothing but its window."""
    link: Link[str] = Link(window or Window(1000, 1_000_000), answers=answers)
    assert link.wait_s(0.0) == 0.0  # the window is said at once
    link.take_frame()
    frame = pb.Frame(first=1, envelopes=[bytes(size_bytes)] * count, window=pb.Window(messages=9, size_bytes=999))
    link.received(frame.SerializeToString())
    return link


def taken(link: Link[str]) -> pb.Frame:
    frame = link.take_frame()
    assert frame is not None
    return pb.Frame.FromString(frame)


def test_one_that_is_alone_waits_a_moment() -> None:
    """From the first on; later ones do not put it off, and once it is said the next one waits anew."""
    link = receiver(3)
    assert link.wait_s(10.0) is None
    link.settle(1, IS_SAFE)
    assert link.wait_s(10.0) == pytest.approx(HELD_S)
    link.settle(2, IS_AT_PEER)
    assert link.wait_s(10.0 + HELD_S / 2) == pytest.approx(HELD_S / 2)
    assert link.wait_s(10.0 + HELD_S - EARLY_S / 2) == 0.0
    assert taken(link).safe == 2
    assert link.wait_s(11.0) is None
    link.settle(3, IS_SAFE)
    assert link.wait_s(11.0) == pytest.approx(HELD_S)


def test_an_envelope_takes_it_along() -> None:
    """At once, in one frame."""
    link = receiver(1)
    link.settle(1, IS_SAFE)
    assert link.wait_s(10.0)
    link.put("answer", b"answer")
    assert link.wait_s(10.0) == 0.0
    frame = taken(link)
    assert (frame.safe, list(frame.envelopes)) == (1, [b"answer"])
    assert link.wait_s(10.0) is None


def test_a_refusal_goes_at_once() -> None:
    """Its sender has something to do about it; what waited goes with it, what follows waits again."""
    link = receiver(3)
    link.settle(1, IS_SAFE)
    assert link.wait_s(10.0)
    link.settle(2, REFUSED)
    assert link.wait_s(10.0) == 0.0
    assert taken(link).safe == 2
    link.settle(3, IS_SAFE)
    assert link.wait_s(10.0)


def test_refusals_that_one_frame_does_not_hold_all_go_at_once() -> None:
    """The rest is as urgent."""
    count = RUNS_MAX + 1
    link = receiver(count)
    for number in range(1, count + 1):
        link.settle(number, Outcome(Ending.REFUSED, number, "no"))
    assert taken(link).safe == RUNS_MAX
    assert link.wait_s(10.0) == 0.0
    assert taken(link).safe == count
    assert link.wait_s(10.0) is None


def test_many_do_not_wait() -> None:
    """As soon as there are as many as are worth a frame of their own."""
    link = receiver(HELD_MAX + 1)
    for number in range(1, HELD_MAX):
        link.settle(number, IS_SAFE)
    assert link.wait_s(10.0)
    link.settle(HELD_MAX, IS_SAFE)
    assert link.wait_s(10.0) == 0.0


@pytest.mark.parametrize(
    ("window", "count", "size_bytes"), [(Window(10, 10**6), 5, 1), (Window(1000, 1000), 5, 100)], ids=["count", "bytes"]
)
def test_a_window_that_is_half_used_holds_nothing_back(window: Window, count: int, size_bytes: int) -> None:
    """The other side must not stand still for an acknowledgement; what has not ended counts, too."""
    almost = receiver(count - 1, size_bytes, window=window)
    almost.settle(1, IS_SAFE)
    assert almost.wait_s(10.0)
    half = receiver(count, size_bytes, window=window)
    half.settle(1, IS_SAFE)
    assert half.wait_s(10.0) == 0.0


def test_where_nothing_goes_back_the_last_one_does_not_wait() -> None:
    """Acknowledgements of a link that carries envelopes one way wait for each other, and for nothing else."""
    link = receiver(2, answers=False)
    link.settle(1, IS_SAFE)
    assert link.wait_s(10.0)
    link.settle(2, IS_SAFE)
    assert link.wait_s(10.0) == 0.0


def test_last_words_are_endings_alone() -> None:
    """What has not been framed when a connection is ended is the caller's again, and must not come twice."""
    link = receiver(1)
    link.settle(1, IS_SAFE)
    link.put("later", b"later")
    frame = pb.Frame.FromString(link.take_last_frame() or b"")
    assert (frame.safe, list(frame.envelopes)) == (1, [])
    assert link.take_last_frame() is None
    assert link.take_unended() == ["later"]
