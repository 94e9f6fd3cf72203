"""Pauses between attempts grow, are bounded, and are spread."""

from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.protocol.backoff import Backoff


def test_pauses_double_up_to_the_limit() -> None:
    """Without jitter: 1, 2, 4, 5, 5 … and anew after a success."""
    backoff = Backoff(1.0, 5.0, lambda: 0.0)
    assert [backoff.next_s() for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    backoff.reset()
    assert backoff.next_s() == 1.0


def test_raise_to() -> None:
    """A reason to wait longer counts, within the limit, and never shortens a pause."""
    backoff = Backoff(1.0, 60.0, lambda: 0.0)
    backoff.raise_to(30.0)
    backoff.raise_to(3.0)
    assert backoff.next_s() == 30.0
    backoff.raise_to(1000.0)
    assert backoff.next_s() == 60.0


@given(st.lists(st.floats(0, 1, exclude_max=True), max_size=20))
def test_jitter_takes_off_at_most_half(numbers: list[float]) -> None:
    """Each pause lies between half of the unjittered one and all of it."""
    source = iter(numbers)
    backoff, plain = Backoff(0.2, 30.0, lambda: next(source)), Backoff(0.2, 30.0, lambda: 0.0)
    for _ in numbers:
        full_s = plain.next_s()
        assert full_s / 2 <= backoff.next_s() <= full_s
