"""The log of an author against a slow twin that remembers a plain set of numbers."""

from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.protocol.gossip.authors import LATE_MAX, AuthorLog, AuthorMemory
from rmb_peer.protocol.gossip.config import Limits
from rmb_peer.protocol.gossip.messages import Gossip, Held, Stamp

NUMBERS = st.integers(1, 30)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), NUMBERS),
        st.tuples(st.just("give up"), NUMBERS),
        st.tuples(st.just("lower"), NUMBERS),
    ),
    max_size=40,
)


@given(st.integers(1, 20), STEPS)
def test_log_against_a_set(floor: int, steps: list[tuple[str, int]]) -> None:
    """What came, what is complete, what is missing and what was lost are those of a set of numbers."""
    log = AuthorLog(floor)
    came: set[int] = set()
    lost: set[int] = set()
    for what, number in steps:
        if what == "add":
            expected = number in came or number in lost or number < log.floor - LATE_MAX
            assert log.has(number) == expected
            if not expected:
                log.add(number)
                came.add(number)
                assert log.has(number), "not a second time"
        elif what == "give up":
            missing = {n for n in range(log.floor, number + 1) if n not in came | lost}
            given_up = {n for first, last in log.give_up(number) for n in range(first, last + 1)}
            assert given_up == missing
            lost |= missing
        else:
            log.lower(number)
            assert log.floor <= number
        settled = {n for n in came | lost if n >= log.floor}
        upto = log.floor - 1
        while upto + 1 in settled:
            upto += 1
        assert log.upto == upto
        assert set(log.beyond) == {n for n in settled if n > upto}
        holes = {n for first, last in log.missing(1000) for n in range(first, last + 1)}
        assert holes == {n for n in range(upto + 1, log.highest + 1) if n not in settled}
        assert log.complete() == (not holes)


@given(st.integers(1, 10))
def test_missing_names_at_most_so_many(at_most: int) -> None:
    """The first ones, in order."""
    log = AuthorLog(1)
    for number in (3, 4, 9, 20):
        log.add(number)
    expected = [n for n in range(1, 20) if n not in (3, 4, 9)][:at_most]
    assert [n for first, last in log.missing(at_most) for n in range(first, last + 1)] == expected


def test_an_author_far_ahead_is_followed() -> None:
    """A number beyond the window gives up what is too old, and says what."""
    memory = AuthorMemory(0, Limits(ahead=10), 60.0)
    memory.remember(Gossip(Stamp(9, 1, 1), b"", 0), 0.0)
    memory.remember(Gossip(Stamp(9, 1, 50), b"", 0), 0.0)
    assert [(lost.first, lost.last) for lost in memory.lost] == [(2, 40)]
    assert not memory.seen(Stamp(9, 1, 41))
    assert memory.seen(Stamp(9, 1, 40))


def test_the_author_that_was_silent_longest_is_forgotten() -> None:
    """At the limit the oldest goes; an earlier life of a known author is not begun anew."""
    memory = AuthorMemory(0, Limits(authors=2), 60.0)
    for author in (1, 2, 1, 3):
        number = 1 + sum(stamp.author == author for stamp in memory.kept)
        memory.remember(Gossip(Stamp(author, 5, number), b"", 0), 0.0)
    assert list(memory.logs) == [(1, 5), (3, 5)]
    assert memory.seen(Stamp(1, 4, 1))
    assert not memory.seen(Stamp(1, 6, 1))
    assert not memory.seen(Stamp(2, 4, 1))


def test_payloads_end_with_their_time() -> None:
    """Served until the retention is over; then a digest says from where on."""
    memory = AuthorMemory(0, Limits(), 10.0)
    for number, now_s in ((1, 0.0), (2, 5.0), (3, 9.0)):
        memory.remember(Gossip(Stamp(9, 1, number), b"x", 0), now_s)
    memory.sweep(15.0)
    assert memory.held(Stamp(9, 1, 2)) is None
    assert memory.held(Stamp(9, 1, 3)) is not None
    assert memory.state_of((9, 1)) == Held(9, 1, 3, 3)
    assert [message.id for message in memory.latest(5)] == [Stamp(9, 1, 3)]
