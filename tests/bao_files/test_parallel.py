"""Work in several threads with results in order."""

from collections.abc import Callable, Iterator
from functools import partial
from threading import Event

import pytest

from rmb_peer.bao_files.parallel import in_order


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_results_come_in_order_and_jobs_are_taken_as_needed(threads: int) -> None:
    """Not far ahead of what was consumed."""
    taken: list[int] = []

    def jobs() -> Iterator[Callable[[], int]]:
        for number in range(50):
            taken.append(number)
            yield partial(int, number)

    for expected, result in enumerate(in_order(jobs(), threads)):
        assert result == expected
        assert len(taken) <= expected + 1 + 2 * threads
    assert len(taken) == 50


def test_threads_work_at_the_same_time() -> None:
    """A job may wait for another one that comes after it."""
    second_ran = Event()

    def first() -> bool:
        return second_ran.wait(10)

    def second() -> bool:
        second_ran.set()
        return True

    assert list(in_order([first, second], 2)) == [True, True]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_failure_is_raised_in_its_place(threads: int) -> None:
    """Results before it come; what was not begun never runs after it."""
    results = in_order([lambda: 1, lambda: 2, lambda: 1 // 0, lambda: 4], threads)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(ZeroDivisionError):
        next(results)
