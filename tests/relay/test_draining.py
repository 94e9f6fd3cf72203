"""Sessions end one after another, within the time that there is."""

import pytest

from relay.draining import GAP_S_MAX, stop_one_by_one


class Clock:
    """A time that passes while somebody sleeps, and 0.1 ms for each session."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.stopped_at_s: list[float] = []

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_s += seconds

    def stop(self) -> None:
        self.stopped_at_s.append(self.now_s)
        self.now_s += 0.0001


@pytest.mark.parametrize(("count", "spread_s", "within_s"), [(1, 3, 0), (10, 3, 0.05), (600, 3, 3), (5000, 3, 3.001)])
async def test_they_are_spread(count: int, spread_s: float, within_s: float) -> None:
    """Evenly; a few sessions take less than the time that they may."""
    clock = Clock()
    await stop_one_by_one([clock] * count, spread_s, clock=lambda: clock.now_s, sleep=clock.sleep)
    assert len(clock.stopped_at_s) == count
    last_s = clock.stopped_at_s[-1] - 100.0
    assert last_s <= within_s
    gap_s = min(GAP_S_MAX, spread_s / count)
    assert last_s >= (count - 1) * gap_s - 0.002


async def test_no_time_at_all() -> None:
    """Then all are told at once; and none is fine, too."""
    clock = Clock()
    await stop_one_by_one([clock] * 100, 0.0, clock=lambda: clock.now_s, sleep=clock.sleep)
    assert len(clock.stopped_at_s) == 100
    await stop_one_by_one([], 3.0)


async def test_nobody_knows_the_order() -> None:
    """It is shuffled: the longest connected are not the first each time."""
    order: list[int] = []

    class Numbered:
        def __init__(self, number: int) -> None:
            self.number = number

        def stop(self) -> None:
            order.append(self.number)

    await stop_one_by_one([Numbered(n) for n in range(5)], 0.0, shuffle=lambda items: items.reverse())
    assert order == [4, 3, 2, 1, 0]
