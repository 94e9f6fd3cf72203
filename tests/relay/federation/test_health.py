"""Pauses and the circuit breaker."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.federation.health import ERROR_CHARS_MAX, RETRY_AFTER_S_MAX, Health, Pause, State, read_health

PAUSE = Pause(1.0, 60.0)


def fail(health: Health, now_s: float, random: float = 0.0, after_s: float = 0.0) -> Health:
    return health.failed(now_s, "timeout", "did not answer", PAUSE, lambda: random, after_s)


def test_the_story_of_a_relay() -> None:
    """Closed, open after three failures, half-open after the pause, open again, closed after a success."""
    health = Health()
    states = []
    now_s = 1000.0
    for _ in range(4):
        states.append(health.state(now_s, 3))
        health = fail(health, now_s)
        states.append(health.state(now_s, 3))
        now_s = health.retry_at_s
    closed, opened, half = State.CLOSED, State.OPEN, State.HALF_OPEN
    assert states == [closed, closed, closed, closed, closed, opened, half, opened]
    health = health.succeeded()
    assert (health.state(now_s, 3), health.failures, health.retry_at_s) == (closed, 0, 0.0)
    assert health.error == "did not answer"
    assert health.succeeded() is health


def test_pauses_double_up_to_the_maximum() -> None:
    """And random shortens each by up to half."""
    health, pauses = Health(), []
    for _ in range(9):
        health = fail(health, 0.0)
        pauses.append(health.retry_at_s)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert fail(Health(failures=3), 0.0, random=0.999).retry_at_s == pytest.approx(4, abs=0.1)
    assert fail(Health(failures=10**9), 5.0).retry_at_s == 65.0


@pytest.mark.parametrize(("after_s", "pause_s"), [(0.5, 1.0), (20.0, 20.0), (1e9, RETRY_AFTER_S_MAX), (-5.0, 1.0)])
def test_what_the_relay_asks_for(after_s: float, pause_s: float) -> None:
    """A longer pause than ours is kept, up to a limit."""
    assert fail(Health(), 100.0, after_s=after_s).retry_at_s == 100.0 + pause_s


def test_told_to_try_at_once() -> None:
    """The pause ends; what is held against it stays."""
    health = fail(fail(fail(Health(), 0.0), 1.0), 2.0)
    assert health.at_once().state(2.0, 3) is State.HALF_OPEN


@given(
    st.integers(0, 10**6),
    st.floats(0, 1e6),
    st.text(max_size=20),
    st.text(max_size=2 * ERROR_CHARS_MAX),
    st.floats(0, 1e6),
)
def test_it_survives_a_restart(failures: int, retry_at_s: float, reason: str, error: str, failed_at_s: float) -> None:
    """What is written is read, except pauses that no clock could have meant."""
    health = Health(failures, retry_at_s, reason, error[:ERROR_CHARS_MAX], failed_at_s)
    read = read_health(health.text(), 1e6, 60.0)
    assert read == health
    early = read_health(health.text(), 0.0, 60.0)
    assert early.retry_at_s == min(retry_at_s, RETRY_AFTER_S_MAX)


@given(st.one_of(st.none(), st.binary(max_size=60)))
def test_any_noise(text: bytes | None) -> None:
    """What is no health is one about which nothing is known."""
    health = read_health(text, 0.0, 60.0)
    assert health.failures >= 0
    assert health.retry_at_s <= RETRY_AFTER_S_MAX


@pytest.mark.parametrize("text", [b"[]", b'{"failures":-1}', b'{"retry_at_s":"x"}', b'{"failures":1e400}', b"7"])
def test_damaged(text: bytes) -> None:
    """The same, case by case."""
    assert read_health(text, 0.0, 60.0) == Health()
