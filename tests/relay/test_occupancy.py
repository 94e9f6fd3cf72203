"""Counting who has how many."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.occupancy import Occupancy


def test_the_edge() -> None:
    """As many as may be, not one more, and room again when one leaves."""
    count: Occupancy[str] = Occupancy(2)
    assert [count.enter("a"), count.enter("a"), count.enter("a"), count.enter("b")] == [True, True, False, True]
    count.leave("a")
    assert count.enter("a")
    assert not count.enter("a")


def test_nothing_is_left_behind() -> None:
    """Those who have gone take no room; leaving without having entered is a mistake."""
    count: Occupancy[str] = Occupancy(None)
    for _ in range(100):
        assert count.enter("a")
    for _ in range(100):
        count.leave("a")
    assert len(count) == 0
    with pytest.raises(KeyError):
        count.leave("a")


@given(st.integers(1, 4), st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_agrees_with_a_list(most: int, steps: list[tuple[str, bool]]) -> None:
    """The same answers as counting in a list."""
    count: Occupancy[str] = Occupancy(most)
    inside: list[str] = []
    for who, comes in steps:
        if comes:
            assert count.enter(who) is (inside.count(who) < most)
            if inside.count(who) < most:
                inside.append(who)
        elif who in inside:
            count.leave(who)
            inside.remove(who)
    assert len(count) == len(set(inside))


def test_the_links_of_relays() -> None:
    """They are counted per relay and in all, and those without a link are forgotten."""
    links: Occupancy[str] = Occupancy(2)
    assert [links.enter("a.test") for _ in range(3)] == [True, True, False]
    assert links.enter("b.test")
    assert links.total == 3
    for name in ("a.test", "a.test", "b.test"):
        links.leave(name)
    assert links.total == len(links) == 0
    assert links.enter("a.test")
