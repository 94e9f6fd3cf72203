"""Who is tried first (spec rmb 6.8)."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from relay.federation.ranker import FAILURES_MAX, RELAYS_MAX, Ranker
from tests.support.federation import seeded


def test_failures_count_and_heal() -> None:
    """Fewest failures within the period first; older ones are forgotten."""
    ranker = Ranker(100.0, lambda: 0.0)
    for name, at_s in (("a", 0.0), ("a", 50.0), ("b", 60.0)):
        ranker.failed(name, at_s)
    assert ranker.order(["a", "b", "c"], 60.0) == ["c", "b", "a"]
    assert ranker.order(["b", "a"], 100.0) == ["a", "b"]
    assert [ranker.failures(name, 149.9) for name in "abc"] == [1, 1, 0]
    assert ranker.order(["b", "a"], 150.0) == ["a", "b"]
    assert ranker.failures("b", 160.0) == 0


def test_equals_share_the_work() -> None:
    """In random order, from the source that is given."""
    ranker = Ranker(100.0, seeded(1))
    first = Counter(ranker.order(["a", "b"], 0.0)[0] for _ in range(200))
    assert min(first.values()) > 50


def test_memory_is_bounded() -> None:
    """Strangers choose the names, and nobody fails more often than counts."""
    ranker = Ranker(1e9, lambda: 0.0)
    for number in range(RELAYS_MAX + 5):
        ranker.failed(str(number), 0.0)
    assert sum(ranker.failures(str(number), 1.0) for number in range(RELAYS_MAX + 5)) == RELAYS_MAX
    for _ in range(2 * FAILURES_MAX):
        ranker.failed("a", 1.0)
    assert ranker.failures("a", 1.0) == FAILURES_MAX


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 300)), max_size=50),
    st.integers(0, 1000),
    st.integers(0, 2**32),
)
def test_any_history(history: list[tuple[str, int]], later_s: int, seed: int) -> None:
    """The order is that of the failures within the period, and nobody is left out."""
    ranker = Ranker(100.0, seeded(seed))
    history.sort(key=lambda item: item[1])
    for name, at_s in history:
        ranker.failed(name, at_s)
    now_s = (history[-1][1] if history else 0) + later_s
    recent = Counter(name for name, at_s in history if at_s > now_s - 100)
    ordered = ranker.order("abcd", now_s)
    assert sorted(ordered) == list("abcd")
    counts = [recent[name] for name in ordered]
    assert counts == sorted(counts)
