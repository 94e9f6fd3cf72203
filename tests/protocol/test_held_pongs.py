"""A ping is answered once everything before it has been dealt with, and no sooner."""

from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.protocol.held_pongs import PINGS_HELD_MAX, HeldPongs


def test_a_ping_on_an_idle_link_is_answered_at_once() -> None:
    """Nothing came before it."""
    pongs = HeldPongs()
    pongs.pinged(0, b"1")
    assert pongs.take_answerable() == [b"1"]
    assert pongs.take_answerable() == []


def test_a_ping_waits_for_the_messages_before_it() -> None:
    """Messages that come after it do not count."""
    pongs = HeldPongs()
    pongs.pinged(2, b"1")
    pongs.dealt_with(3)
    pongs.dealt_with(1)
    assert not pongs.answerable()
    pongs.dealt_with(2)
    assert pongs.take_answerable() == [b"1"]


def test_a_ping_that_waited_for_too_long_is_answered() -> None:
    """And none that came later."""
    pongs = HeldPongs()
    pongs.pinged(1, b"1")
    pongs.pinged(2, b"2")
    pongs.hold_no_longer(1)
    assert pongs.take_answerable() == [b"1"]
    pongs.dealt_with(1)
    assert not pongs.answerable()
    pongs.dealt_with(2)
    assert pongs.take_answerable() == [b"2"]


def test_a_flood_of_pings_is_bounded() -> None:
    """Only the latest are kept and answered (RFC 6455, 5.5.3)."""
    pongs = HeldPongs()
    for number in range(PINGS_HELD_MAX + 5):
        pongs.pinged(1, b"%d" % number)
    pongs.dealt_with(1)
    assert pongs.take_answerable() == [b"%d" % number for number in range(5, PINGS_HELD_MAX + 5)]


@given(st.lists(st.booleans(), max_size=30), st.randoms(use_true_random=False))
def test_no_pong_overtakes_a_message(steps: list[bool], random: object) -> None:
    """Whatever the order in which messages end: a pong comes exactly when all messages before its ping have ended."""
    pings: list[int] = []
    pongs, messages = HeldPongs(), 0
    for is_ping in steps:
        if is_ping and len(pings) < PINGS_HELD_MAX:
            pings.append(messages)
            pongs.pinged(messages, b"%d" % (len(pings) - 1))
        else:
            messages += 1
    order = list(range(1, messages + 1))
    random.shuffle(order)  # type: ignore[attr-defined]
    answered = [int(payload) for payload in pongs.take_answerable()]
    assert answered == [index for index, before in enumerate(pings) if before == 0]
    ended: set[int] = set()
    for number in order:
        pongs.dealt_with(number)
        ended.add(number)
        answered += map(int, pongs.take_answerable())
        assert answered == [index for index, before in enumerate(pings) if set(range(1, before + 1)) <= ended]
    assert len(answered) == len(pings)
