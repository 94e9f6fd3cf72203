"""Rate limits (spec rmb 6.9; appendix C 12)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.limits import WINDOW_S, RateLimiter


def limiter(frames: int = 3, size: int = 100, absent: int = 4) -> RateLimiter:
    limits = RateLimiter(frames, size, absent)
    limits.connect(7)
    return limits


def test_c12_count_edge() -> None:
    """Exactly as many frames as allowed pass; the next does not."""
    limits = limiter(frames=3)
    assert [limits.allow(7, 1, 0.0) for _ in range(5)] == [True, True, True, False, False]


def test_c12_size_edge() -> None:
    """Exactly as many bytes as allowed pass; one more does not, and refused frames keep counting."""
    limits = limiter(frames=10, size=100)
    assert limits.allow(7, 60, 0.0)
    assert limits.allow(7, 40, 0.0)
    assert not limits.allow(7, 1, 0.0)
    limits = limiter(frames=10, size=100)
    assert limits.allow(7, 60, 0.0)
    assert not limits.allow(7, 41, 0.0)
    assert not limits.allow(7, 1, 0.0)


def test_c12_a_single_oversized_frame_does_not_count() -> None:
    """A frame larger than the limit is refused by itself and leaves the counters alone."""
    limits = limiter(frames=1, size=100)
    assert not limits.allow(7, 101, 0.0)
    assert limits.allow(7, 100, 0.0)


@pytest.mark.parametrize(("before", "after"), [(0.0, 60.0), (59.999, 60.0), (1699999979.9, 1699999980.0)])
def test_c12_a_new_window_starts_at_multiples_of_a_minute(before: float, after: float) -> None:
    """Windows are aligned to the epoch, not to the first frame."""
    limits = limiter(frames=1)
    assert limits.allow(7, 1, before)
    assert not limits.allow(7, 1, before)
    assert limits.allow(7, 1, after)


def test_sessions_of_a_twin_share_their_counters() -> None:
    """Two connections of one twin have one allowance; another twin has its own."""
    limits = limiter(frames=2)
    limits.connect(7)
    limits.connect(8)
    assert limits.allow(7, 1, 0.0) and limits.allow(7, 1, 0.0) and not limits.allow(7, 1, 0.0)
    assert limits.allow(8, 1, 0.0)
    limits.disconnect(7)
    assert not limits.allow(7, 1, 0.0)


def test_reconnecting_buys_nothing() -> None:
    """Counters outlive the connection."""
    limits = limiter(frames=1)
    assert limits.allow(7, 1, 0.0)
    limits.disconnect(7)
    limits.connect(7)
    assert not limits.allow(7, 1, 0.0)


def test_only_absent_twins_are_forgotten() -> None:
    """The table is bounded; a connected twin keeps its counters however many others come and go (10.13)."""
    limits = limiter(frames=1, absent=4)
    assert limits.allow(7, 1, 0.0)
    for twin in range(100, 200):
        limits.connect(twin)
        assert limits.allow(twin, 1, 0.0)
        limits.disconnect(twin)
    assert len(limits) == 1 + 4
    assert not limits.allow(7, 1, 0.0)
    limits.connect(199)
    assert not limits.allow(199, 1, 0.0)
    limits.connect(100)
    assert limits.allow(100, 1, 0.0)


@given(st.lists(st.tuples(st.integers(0, 130), st.floats(0, 200)), max_size=40))
def test_agrees_with_a_slow_obvious_one(frames: list[tuple[int, float]]) -> None:
    """The same answers as counting everything anew for every frame."""
    limits = limiter(frames=3, size=100)
    seen: list[tuple[int, int]] = []
    now = 0.0
    for size, pause in frames:
        now += pause
        if size > 100:
            expected = False
        else:
            seen.append((int(now // WINDOW_S), size))
            mine = [s for window, s in seen if window == int(now // WINDOW_S)]
            expected = len(mine) <= 3 and sum(mine) <= 100
        assert limits.allow(7, size, now) is expected
