"""The bucket: bursts, debt, and the rate that is kept to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.token_bucket import Bucket, Rate


def test_a_full_bucket_holds_its_burst_and_no_more() -> None:
    """Exactly the burst is there at first, and again after a long pause."""
    for now_s in (5.0, 1e9):
        bucket = Bucket(Rate(per_s=10, burst=30))
        bucket.spend(0, 1.0)
        assert bucket.has(30, now_s)
        assert not bucket.has(31, now_s)


def test_it_fills_at_its_rate() -> None:
    """What was spent comes back, so much per second."""
    bucket = Bucket(Rate(per_s=10, burst=30))
    bucket.spend(30, 100.0)
    assert not bucket.has(1, 100.0)
    assert bucket.has(10, 101.0)
    assert not bucket.has(11, 101.0)


def test_debt_is_told_in_seconds() -> None:
    """More can be spent than there is; how long that takes to come in is the debt."""
    bucket = Bucket(Rate(per_s=10, burst=30))
    bucket.spend(30, 100.0)
    assert bucket.debt_s(100.0) == 0
    bucket.spend(20, 100.0)
    assert bucket.debt_s(100.0) == pytest.approx(2.0)
    assert bucket.debt_s(101.5) == pytest.approx(0.5)
    assert bucket.debt_s(102.0) == 0


def test_a_clock_that_goes_back_gives_nothing() -> None:
    """And takes nothing."""
    bucket = Bucket(Rate(per_s=10, burst=30))
    bucket.spend(40, 100.0)
    assert bucket.debt_s(50.0) == pytest.approx(1.0)
    assert bucket.debt_s(50.5) == pytest.approx(0.5)


@given(
    st.integers(1, 1000),
    st.integers(1, 1000),
    st.lists(st.tuples(st.floats(0, 3), st.floats(0, 500)), max_size=60),
)
def test_never_more_than_the_rate(per_s: int, burst: int, steps: list[tuple[float, float]]) -> None:
    """Whoever spends only what there is, gets no more than the burst and what has come in."""
    bucket, now_s, spent = Bucket(Rate(per_s, burst)), 0.0, 0.0
    for pause_s, cost in steps:
        now_s += pause_s
        if bucket.has(cost, now_s):
            bucket.spend(cost, now_s)
            spent += cost
        assert bucket.debt_s(now_s) == 0
    assert spent <= burst + now_s * per_s + 1e-6


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 500)), max_size=60))
def test_whoever_waits_for_the_debt_keeps_to_the_rate(steps: list[tuple[float, float]]) -> None:
    """Spending first and waiting afterwards is the same rate, whatever single things cost."""
    bucket, now_s, spent = Bucket(Rate(per_s=100, burst=50)), 0.0, 0.0
    for pause_s, cost in steps:
        now_s += pause_s + bucket.debt_s(now_s + pause_s)
        assert bucket.debt_s(now_s) == pytest.approx(0, abs=1e-6)
        assert spent <= 50 + now_s * 100 + 1e-3
        bucket.spend(cost, now_s)
        spent += cost
