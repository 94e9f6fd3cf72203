"""The health of one relay: when silence counts, and how long a relay that came back is second choice."""

from rmb_peer.transport.health import (
    LOOK_S_MAX,
    PROBATION_S_FIRST,
    PROBATION_S_MAX,
    SILENT_S_MAX,
    SILENT_S_MIN,
    STEADY_S,
    Health,
    State,
    silence_patience_s,
)

STEP_S = 0.1


def watch(health: Health, now_s: float, silent_s: float, round_trip_s: float | None = None) -> float:
    """Look at a relay that falls silent for so long; the time afterwards."""
    for number in range(1, round(silent_s / STEP_S) + 1):
        health.look(now_s + number * STEP_S, number * STEP_S, round_trip_s)
    return now_s + silent_s


def test_silence_makes_sick_and_an_answer_brings_back() -> None:
    """First on probation, then well."""
    health = Health()
    health.look(100.0, 0.0, None)
    now_s = watch(health, 100.0, SILENT_S_MIN - STEP_S)
    assert health.state(now_s) is State.WELL
    now_s = watch(health, 100.0, SILENT_S_MIN + STEP_S)
    assert health.state(now_s) is State.SICK and health.silent
    health.look(now_s, 0.0, None)
    assert health.state(now_s) is State.PROBATION and not health.silent
    assert health.state(now_s + PROBATION_S_FIRST) is State.WELL


def test_our_own_standstill_is_not_the_relays_silence() -> None:
    """We did not look for a minute: the answer may lie in our socket."""
    health = Health()
    health.look(100.0, 0.0, None)
    health.look(160.0, 60.0, None)
    assert health.state(160.0) is State.WELL
    health.look(160.0 + LOOK_S_MAX, 60.0 + LOOK_S_MAX, None)
    health.look(160.0 + 2 * LOOK_S_MAX, 60.0 + 2 * LOOK_S_MAX, None)
    assert health.state(161.0) is State.SICK


def test_a_slow_line_is_given_more_time() -> None:
    """Some round trips, within limits."""
    assert silence_patience_s(None) == silence_patience_s(0.001) == SILENT_S_MIN
    assert silence_patience_s(0.3) == 1.2
    assert silence_patience_s(10.0) == SILENT_S_MAX
    health = Health()
    health.look(0.0, 0.0, 0.3)
    assert health.state(watch(health, 0.0, 1.0, 0.3)) is State.WELL
    assert health.state(watch(health, 0.0, 1.3, 0.3)) is State.SICK


def test_a_stuck_relay_is_sick_though_it_answers() -> None:
    """And not silent."""
    health = Health()
    health.look(0.0, 0.0, None, stuck=True)
    assert health.state(0.0) is State.SICK and not health.silent
    health.look(0.1, 0.0, None)
    assert health.state(0.1) is State.PROBATION


def test_relapses_make_probation_longer_and_steadiness_makes_it_short() -> None:
    """Twice as long each time, up to a limit; after a good while the first one again."""
    health, now_s, lasted = Health(), 0.0, []
    for _ in range(8):
        health.look(now_s, 0.0, None, stuck=True)
        health.connected(now_s)
        began_s = now_s
        while health.state(now_s) is State.PROBATION:
            now_s += 0.5
        lasted.append(now_s - began_s)
    assert lasted == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert lasted[0] == PROBATION_S_FIRST and lasted[-1] == PROBATION_S_MAX
    now_s += STEADY_S + 1
    health.look(now_s, 0.0, None, stuck=True)
    health.connected(now_s)
    assert health.state(now_s + PROBATION_S_FIRST) is State.WELL


def test_a_first_connection_needs_no_probation() -> None:
    """Only those that were sick."""
    health = Health()
    health.connected(5.0)
    assert health.state(5.0) is State.WELL
