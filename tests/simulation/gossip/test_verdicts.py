"""Promises: kept, broken, and those that nothing measures."""

import dataclasses

import pytest

from tests.simulation.gossip.scenario import Expectation, Scenario
from tests.simulation.gossip.steps import Bootstrap
from tests.simulation.gossip.story import Outcome
from tests.simulation.gossip.verdicts import NEVER_TWICE, Result, results

SCENARIO = Scenario("s", 10, (Bootstrap(),), anchor={"rmr": (0.4, 0.05)}, seeds=2)


def judged(promise: Expectation, ours: tuple[float, float], upstream: float = 1.0) -> Result:
    """The result of our profile with two seeds."""
    runs = [Outcome("s", "upstream", 1, {"rmr": upstream, "delivered_twice": 0})]
    runs += [Outcome("s", "ours", seed, {"rmr": rmr, "delivered_twice": 0}) for seed, rmr in enumerate(ours)]
    return results([dataclasses.replace(SCENARIO, expect=(promise,))], runs)[-1]


@pytest.mark.parametrize(
    ("promise", "kept"),
    [
        (Expectation("rmr", at_most=0.5), True),
        (Expectation("rmr", at_most=0.49), False),
        (Expectation("rmr", at_most=0.5, over="every seed"), False),
        (Expectation("rmr", at_most=0.6, over="every seed"), True),
        (Expectation("rmr", at_least=0.5), True),
        (Expectation("rmr", at_least=0.5, over="every seed"), False),
        (Expectation("rmr", within_sds=2), True),
        (Expectation("rmr", within_sds=1.9), False),
        (Expectation("rmr", at_most_times_upstream=0.5), True),
        (Expectation("rmr", at_most_times_upstream=0.4), False),
        (Expectation("speed", at_most=1), False),
    ],
)
def test_bounds_at_the_limit(promise: Expectation, kept: bool) -> None:
    """Seeds of 0.4 and 0.6 against upstream's 1.0 and an anchor of 0.4 with a deviation of 0.05."""
    (verdict, never_twice) = judged(promise, (0.4, 0.6)).verdicts
    assert verdict.kept is kept, verdict.text
    assert never_twice.kept


def test_delivering_twice_breaks_every_scenario() -> None:
    """The built-in promise needs no line in a file."""
    runs = [Outcome("s", profile, 0, {"delivered_twice": 1}) for profile in SCENARIO.profiles]
    for result in results([SCENARIO], runs):
        assert [verdict.kept for verdict in result.verdicts] == [False]
        assert NEVER_TWICE.measure in result.verdicts[0].text


def test_rounds_are_averaged_over_seeds() -> None:
    """The curve of a scenario is the mean of its seeds, round by round."""
    scenario = dataclasses.replace(SCENARIO, profiles=("ours",))
    runs = [Outcome("s", "ours", seed, {"delivered_twice": 0}, [{"rmr": seed}, {"rmr": 2 * seed}]) for seed in (1, 3)]
    (result,) = results([scenario], runs)
    assert [each["rmr"].mean for each in result.rounds] == [2, 4]
