"""How fast a twin may send: at the edge, one over, and over time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.token_bucket import Rate
from relay.twin_rates import Allowance, Rates, TwinRates

NOW_S = 1_700_000_000.0


def allowance(messages: Rate | None = None, size: Rate | None = None, slow_s_max: float = 2.0) -> Allowance:
    return Allowance(Rates(messages, size, slow_s_max))


def test_the_edge_of_messages() -> None:
    """The burst passes without debt, then as much as may be owed, and not one more."""
    twin = allowance(Rate(10, 5))
    for _ in range(5):
        assert twin.take(1, NOW_S) is None
    assert twin.wait_s(NOW_S) == 0
    for _ in range(21):  # the last one is taken at a debt of exactly two seconds
        assert twin.take(1, NOW_S) is None
    refusal = twin.take(1, NOW_S)
    assert refusal is not None
    assert (refusal.reason, refusal.retry_after_ms) == ("rate_messages", 2100)
    assert refusal.text == "more than 10 messages per second: try again in 3 s"
    assert twin.take(1, NOW_S + 0.11) is None


def test_the_edge_of_bytes() -> None:
    """The same for bytes; the message that goes over the edge still passes, whatever its size."""
    twin = allowance(size=Rate(100, 1000))
    assert twin.take(1000, NOW_S) is None
    assert twin.wait_s(NOW_S) == 0
    assert twin.take(5000, NOW_S) is None
    assert twin.wait_s(NOW_S) == 50
    refusal = twin.take(1, NOW_S)
    assert refusal is not None
    assert (refusal.reason, refusal.retry_after_ms) == ("rate_bytes", 50_000)
    assert refusal.text == "more than 100 bytes per second: try again in 50 s"
    assert twin.take(1, NOW_S + 48) is None


def test_what_is_refused_costs_nothing() -> None:
    """Hammering on the door does not make it stay shut."""
    twin = allowance(Rate(1, 1), slow_s_max=0.5)
    assert [twin.take(1, NOW_S) is None for _ in range(4)] == [True, True, False, False]
    for _ in range(100):
        twin.take(1, NOW_S)
    assert twin.wait_s(NOW_S) == 1
    assert twin.take(1, NOW_S + 0.5) is None


def test_many_at_once() -> None:
    """A frame is paid for as a whole only when nothing is owed afterwards; otherwise nothing is spent."""
    twin = allowance(Rate(10, 5), Rate(100, 50))
    assert not twin.take_all(6, 10, NOW_S)
    assert not twin.take_all(2, 51, NOW_S)
    assert twin.take_all(5, 50, NOW_S)
    assert not twin.take_all(1, 1, NOW_S)
    assert twin.wait_s(NOW_S) == 0


def test_no_limit() -> None:
    """Without rates everything passes."""
    twin = allowance()
    assert twin.take_all(10**9, 10**18, NOW_S)
    assert twin.take(10**18, NOW_S) is None
    assert twin.wait_s(NOW_S) == 0


def test_sessions_share_and_reconnecting_buys_nothing() -> None:
    """One allowance for each twin, while it is connected and afterwards."""
    rates = TwinRates(Rates(Rate(1, 1), None, 0.0), 10)
    assert rates.connect(7).take(1, NOW_S) is None
    assert rates.connect(7).take(1, NOW_S) is None
    assert rates[7].take(1, NOW_S) is not None
    rates.disconnect(7)
    rates.disconnect(7)
    assert rates.connect(7).take(1, NOW_S) is not None
    assert rates.connect(8).take(1, NOW_S) is None


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 300)), max_size=100))
def test_on_average_the_rate(frames: list[tuple[float, int]]) -> None:
    """Whatever comes when, no more passes than the bursts, what has come in, what may be owed, and one message."""
    twin, now_s, messages, size_bytes = allowance(Rate(5, 3), Rate(200, 500), slow_s_max=2.0), NOW_S, 0, 0
    for pause_s, size in frames:
        now_s += pause_s
        if twin.take(size, now_s) is None:
            messages += 1
            size_bytes += size
    passed_s = now_s - NOW_S
    assert messages <= 3 + 5 * (passed_s + 2) + 1 + 1e-6
    assert size_bytes <= 500 + 200 * (passed_s + 2) + 300 + 1e-3


def test_the_wait_that_is_told_is_enough() -> None:
    """Whoever tries again after it is taken."""
    twin = allowance(Rate(3, 1), slow_s_max=0.0)
    while (refusal := twin.take(1, NOW_S)) is None:
        pass
    assert twin.wait_s(NOW_S + refusal.retry_after_ms / 1000) == pytest.approx(0, abs=1e-6)
    assert twin.take(1, NOW_S + refusal.retry_after_ms / 1000) is None
