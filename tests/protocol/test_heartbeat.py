"""When to ping, what a pong proves, when the link is dead (spec rmb 5.7, 10.7 f)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.protocol.heartbeat import CHECK_S, Heartbeat, LinkDead, Rhythm

R = Rhythm(idle_s=20.0, dead_s=40.0, gap_s=0.1)
E1, E2, E3 = (1, 0), (2, 0), (3, 0)


def expire(beat: Heartbeat[Any], now: float, drained: int = 0, arriving_at: float = 0.0) -> bytes | None:
    return beat.expire(now, drained, arriving_at)


def test_an_idle_link_is_pinged_after_20_seconds() -> None:
    """Nothing heard for 20 s: a ping; anything heard starts the 20 s anew."""
    beat: Heartbeat[tuple[int, int]] = Heartbeat(0.0, R)
    assert beat.deadline() == 20.0
    assert expire(beat, 19.9) is None
    beat.heard(15.0)
    assert beat.deadline() == 35.0
    assert expire(beat, 34.9) is None
    assert expire(beat, 35.0) is not None


def test_a_written_entry_is_confirmed_by_the_pong_after_it() -> None:
    """The first entry is followed by a ping at once; its pong confirms what was written before it."""
    beat: Heartbeat[tuple[int, int]] = Heartbeat(0.0, R)
    beat.wrote(E1)
    beat.wrote(E2)
    ping = expire(beat, 1.0)
    assert ping is not None
    beat.wrote(E3)
    assert beat.pong(ping) == [E1, E2]
    assert beat.unconfirmed == 1


def test_one_ping_at_a_time_and_not_too_often() -> None:
    """While a ping is on its way there is no other; the next comes at least 100 ms after the last."""
    beat: Heartbeat[tuple[int, int]] = Heartbeat(0.0, R)
    beat.wrote(E1)
    ping = expire(beat, 1.0)
    assert ping is not None
    beat.wrote(E2)
    assert expire(beat, 1.5) is None
    assert beat.pong(ping) == [E1]
    beat.heard(1.05)
    beat = Heartbeat(0.0, R)
    beat.wrote(E1)
    ping = expire(beat, 1.0)
    assert ping is not None
    beat.pong(ping)
    beat.wrote(E2)
    assert expire(beat, 1.05) is None
    assert beat.deadline() == pytest.approx(1.1)
    assert expire(beat, 1.11) not in (None, ping)


@pytest.mark.parametrize("payload", [b"", b"other", bytes(8), (2).to_bytes(8)])
def test_a_pong_that_answers_nothing_confirms_nothing(payload: bytes) -> None:
    """Unsolicited pongs, wrong ones, and repeats are ignored."""
    beat: Heartbeat[tuple[int, int]] = Heartbeat(0.0, R)
    beat.wrote(E1)
    assert beat.pong(payload) == []
    ping = expire(beat, 1.0)
    assert beat.pong(payload) == []
    assert ping is not None and beat.pong(ping) == [E1]
    assert beat.pong(ping) == []


def test_an_unanswered_ping_ends_the_link_after_40_seconds() -> None:
    """Whatever else the client sends: without a pong the link is dead 40 s after the ping."""
    beat: Heartbeat[tuple[int, int]] = Heartbeat(0.0, R)
    beat.wrote(E1)
    assert expire(beat, 1.0) is not None
    for now in range(2, 41):
        beat.heard(float(now))
        assert expire(beat, float(now)) is None
    with pytest.raises(LinkDead):
        expire(beat, 41.0)


def test_the_limit_waits_for_bytes_that_drain() -> None:
    """A slow link that still takes what we write is alive; 40 s after the last byte left it is not."""
    beat: Heartbeat[tuple[int, int]] = Heartbeat(0.0, R)
    beat.wrote(E1)
    assert expire(beat, 1.0, drained=0) is not None
    for now in range(2, 200):
        assert expire(beat, float(now), drained=now) is None
    assert expire(beat, 238.0, drained=199) is None
    with pytest.raises(LinkDead):
        expire(beat, 239.0, drained=199)


def test_the_limit_waits_for_a_large_message_that_arrives() -> None:
    """A pong queues behind what the client is sending; bytes of an unfinished frame keep the link alive."""
    beat: Heartbeat[tuple[int, int]] = Heartbeat(0.0, R)
    beat.wrote(E1)
    assert expire(beat, 1.0) is not None
    for now in range(2, 200):
        assert expire(beat, float(now), arriving_at=now - 0.1) is None
    with pytest.raises(LinkDead):
        expire(beat, 240.0, arriving_at=198.9)


def test_a_silent_link_is_looked_at_while_a_ping_waits() -> None:
    """With a ping on its way the timer comes often enough to see progress, and never after the limit."""
    beat: Heartbeat[tuple[int, int]] = Heartbeat(0.0, R)
    beat.wrote(E1)
    expire(beat, 1.0)
    assert beat.deadline() == 1.0 + CHECK_S
    expire(beat, 38.0)
    assert beat.deadline() == 41.0


def test_how_long_a_ping_has_not_been_answered() -> None:
    """From the ping on, or from the last thing that came or left; nothing while no ping is on its way."""
    beat: Heartbeat[tuple[int, int]] = Heartbeat(0.0, R)
    assert beat.unanswered_s(15.0) == 0.0
    ping = expire(beat, 20.0)
    assert ping is not None
    assert beat.unanswered_s(21.0) == 1.0
    beat.heard(22.0)
    assert beat.unanswered_s(25.0) == 3.0
    expire(beat, 26.0, drained=1)
    assert beat.unanswered_s(28.0) == 2.0
    expire(beat, 29.0, drained=1, arriving_at=28.5)
    assert beat.unanswered_s(30.0) == 1.5
    beat.pong(ping)
    assert beat.unanswered_s(30.0) == 0.0


@given(st.lists(st.tuples(st.sampled_from(["write", "tick", "pong", "hear"]), st.floats(0.0, 3.0))))
def test_every_entry_is_confirmed_once_and_in_order(steps: list[tuple[str, float]]) -> None:
    """A pong never confirms an entry that was written after its ping, and none is confirmed twice."""
    beat: Heartbeat[tuple[int, int]] = Heartbeat(0.0, Rhythm(dead_s=1e9))
    now, number, outstanding = 0.0, 0, None
    before_ping = 0
    confirmed: list[int] = []
    for step, pause in steps:
        now += pause
        if step == "write":
            number += 1
            beat.wrote((number, 0))
        elif step == "hear":
            beat.heard(now)
        elif step == "pong" and outstanding is not None:
            confirmed += [n for n, _ in beat.pong(outstanding)]
            assert len(confirmed) == before_ping
            outstanding = None
        elif step == "tick" and (ping := beat.expire(now, 0, 0.0)) is not None:
            assert outstanding is None
            outstanding, before_ping = ping, number
    assert confirmed == list(range(1, len(confirmed) + 1))
    assert beat.unconfirmed == number - len(confirmed)
