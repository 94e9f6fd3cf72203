"""What a Close asks of a gateway."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.transport.close_reasons import (
    ASKED_S_MAX,
    GOING_AWAY,
    SUPERSEDED,
    SUPERSEDED_FORGOTTEN_S,
    SUPERSEDED_RETRY_S,
    SUPERSEDED_RETRY_S_MAX,
    TRY_AGAIN_LATER,
    Manners,
    asked_pause_s,
)


@pytest.mark.parametrize(
    ("reason", "pause_s"),
    [
        ("relay is shutting down; retry after 2 s", 2.0),
        ("retry after 0.5 s, please", 0.5),
        ("retry after 9999 s", ASKED_S_MAX),
        ("relay is shutting down", 0.0),
        ("retry after -1 s", 0.0),
        ("retry after x s", 0.0),
    ],
)
def test_what_a_text_asks_for(reason: str, pause_s: float) -> None:
    """Seconds, never more than a bound; other texts ask for nothing."""
    assert asked_pause_s(reason) == pause_s


@given(st.text())
def test_noise_asks_for_little(reason: str) -> None:
    """Whatever a relay writes, we come back."""
    assert 0 <= asked_pause_s(reason) <= ASKED_S_MAX


@pytest.mark.parametrize("code", [GOING_AWAY, TRY_AGAIN_LATER])
def test_a_relay_that_stops_is_left_alone_for_a_random_while(code: int) -> None:
    """Between half of what it asks for and all of it; other codes ask for nothing."""
    text = "retry after 2 s"
    assert Manners(lambda: 0.0).closed(code, text, 5.0) == 1.0
    assert Manners(lambda: 0.999).closed(code, text, 5.0) == pytest.approx(2.0, abs=0.01)
    assert Manners(lambda: 0.0).closed(1011, text, 5.0) == 0.0


def test_two_gateways_with_one_identity_do_not_evict_each_other_for_ever() -> None:
    """Each takes over seldom, and more seldom each time, however long it held the connection in between."""
    manners = [Manners(lambda: 0.5), Manners(lambda: 0.25)]
    now_s, taken_over = 0.0, 0
    evicted = 1
    held_since = [0.0, 0.0]
    while now_s < 24 * 3600:
        now_s += manners[evicted].closed(SUPERSEDED, "superseded by a newer connection", now_s - held_since[evicted])
        held_since[evicted] = now_s
        taken_over += 1
        evicted = 1 - evicted
    assert taken_over < 24 * 6


def test_the_quarrel_is_forgotten() -> None:
    """After a connection that nobody took over for long, the pause is the first one again."""
    manners = Manners(lambda: 0.0)
    pauses = [manners.closed(SUPERSEDED, "", 1.0) for _ in range(6)]
    assert pauses[0] == SUPERSEDED_RETRY_S and pauses[-1] == SUPERSEDED_RETRY_S_MAX
    assert manners.closed(SUPERSEDED, "", SUPERSEDED_FORGOTTEN_S + 1) == SUPERSEDED_RETRY_S
