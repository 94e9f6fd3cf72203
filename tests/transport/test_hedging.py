"""When an envelope is late, and how many extra offers may be made."""

from rmb_peer.transport.hedging import BURST, PATIENCE_S_MAX, PATIENCE_S_MIN, SHARE, Budget, EndingTimes


def test_patience_follows_what_is_usual() -> None:
    """Fast relays get the shortest, slow ones more than they usually take, and none waits for ever."""
    times = EndingTimes()
    assert times.patience_s == PATIENCE_S_MIN
    for _ in range(100):
        times.heard(0.01)
    assert times.patience_s == PATIENCE_S_MIN
    for number in range(100):
        times.heard(2.0 + number % 3)
    assert 3.5 < times.patience_s < 10.0
    for _ in range(100):
        times.heard(60.0)
    assert times.patience_s == PATIENCE_S_MAX
    for _ in range(200):
        times.heard(0.01)
    assert times.patience_s == PATIENCE_S_MIN


def test_the_budget_is_a_burst_and_a_share() -> None:
    """Whatever is asked for."""
    budget = Budget()
    assert [budget.spend() for _ in range(BURST + 1)] == [True] * BURST + [False]
    allowed = 0
    for _ in range(1000):
        budget.earn()
        allowed += budget.spend()
    assert abs(allowed - 1000 * SHARE) <= 1
    for _ in range(10_000):
        budget.earn()
    assert sum(budget.spend() for _ in range(100)) == BURST
