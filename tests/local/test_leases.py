"""What becomes of unfinished work, without a store."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.local import keys
from rmb_peer.local.lease_settings import RETRIES_MAX, check_settings
from rmb_peer.local.leases import (
    EXPIRED,
    GIVEN_UP,
    PAUSE_S_MAX,
    TRIES_S_MAX,
    GiveUp,
    Lease,
    TryAgain,
    fate,
    overdue,
    parse_lease,
    pause_s,
)
from tests.support.requests import entry
from tests.support.schemas import faults

WORKERS = st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True)
SLOTS = st.from_regex(r"[A-Za-z0-9_.-]{1,16}", fullmatch=True)


@given(WORKERS, SLOTS, st.text(min_size=1))
def test_names_of_lease_lists_can_be_read_back(worker: str, slot: str, command: str) -> None:
    """Whatever a command contains, colons and line ends included."""
    assert parse_lease(keys.lease_list(worker, slot, command)) == Lease(worker, slot, command)


@given(st.text() | st.from_regex(r"rmb:lease:.*"))
def test_noise_is_no_name(name: str) -> None:
    """What is read is what was written; everything else is refused."""
    lease = parse_lease(name)
    assert lease is None or lease.list_name == name


def test_the_first_repetition_comes_at_once_and_later_ones_wait() -> None:
    """1, 2, 4 seconds and so on, up to a bound."""
    assert [pause_s(tries) for tries in range(1, 9)] == [0, 1, 2, 4, 8, 16, 32, PAUSE_S_MAX]
    assert pause_s(10**6) == PAUSE_S_MAX


def test_unfinished_work_is_tried_again_until_the_limit() -> None:
    """`retries_max` repetitions, and then the asker reads why there is no answer."""
    again = fate(entry(now=1000, exp=300), 3, 3, 1010)
    assert again == TryAgain("u-1", 1000, 3, 2.0, 290)
    end = fate(entry(now=1000, exp=300), 4, 3, 1010)
    assert isinstance(end, GiveUp)
    assert end.reply_list == "msgbus.system.reply"
    answer = json.loads(end.answer)
    assert faults("outgoing_response", answer) == []
    assert (answer["ref"], answer["dst"], answer["now"]) == ("u-1", "7:web", 1010)
    assert answer["err"]["code"] == GIVEN_UP == 502
    assert "4 workers, one after another" in answer["err"]["message"]


def test_no_retries_means_one_try() -> None:
    """0 is allowed."""
    end = fate(entry(), 1, 0, 0)
    assert isinstance(end, GiveUp)
    assert "a worker ended" in end.reason


def test_a_request_whose_life_is_over_is_not_tried_again() -> None:
    """Nobody waits for the answer; at the last second somebody still does."""
    assert isinstance(fate(entry(now=1000, exp=300), 1, 3, 1299), TryAgain)
    end = fate(entry(now=1000, exp=300), 1, 3, 1300)
    assert isinstance(end, GiveUp)
    assert json.loads(end.answer)["err"]["code"] == EXPIRED
    assert overdue(entry(now=1000, exp=300), 1299) is None
    assert overdue(entry(now=1000, exp=300), 1300) == end


def test_tries_are_remembered_as_long_as_the_message_lives() -> None:
    """Within bounds."""
    assert fate(entry(now=0, exp=2**60), 1, 3, 10) == TryAgain("u-1", 0, 1, 0.0, TRIES_S_MAX)
    assert fate(entry(now=0, exp=11), 1, 3, 10) == TryAgain("u-1", 0, 1, 0.0, 60)


@given(st.binary() | st.builds(lambda ref: entry(ref=ref), st.none() | st.text() | st.integers()), st.integers(1, 200))
def test_whatever_a_worker_left_behind_has_a_fate(raw: bytes, tries: int) -> None:
    """Noise is tried again like a request, and ends as a dead letter; nobody is told who cannot be."""
    end = fate(raw, tries, 3, 0)
    assert isinstance(end, TryAgain) == (tries <= 3)
    if isinstance(end, GiveUp):
        assert bool(end.reply_list) == bool(end.answer)


@pytest.mark.parametrize(
    ("lease_s", "retries", "words"),
    [(0.9, 3, "a lease lasts"), (3601, 3, "a lease lasts"), (float("nan"), 3, "a lease"), (30, -1, "tried again 0 to"),
     (30, RETRIES_MAX + 1, "tried again 0 to")],
)  # fmt: skip
def test_settings_out_of_bounds_are_refused(lease_s: float, retries: int, words: str) -> None:
    """The text names the bounds; the bounds themselves are allowed."""
    check_settings(1, 0)
    check_settings(3600, RETRIES_MAX)
    with pytest.raises(ValueError, match=words):
        check_settings(lease_s, retries)
