"""From runs to results: a summary of every measure over the seeds, and which promises of the scenario hold."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.simulation.gossip.scenario import Expectation, Scenario
from tests.simulation.gossip.statistics import Summary, summarise
from tests.simulation.gossip.story import Outcome

NEVER_TWICE = Expectation("delivered_twice", at_most=0, over="every seed")
"""Holds in every scenario: no application gets a message twice (spec gossip 15.3 aborts the run)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One promise and whether it was kept."""

    text: str
    kept: bool


@dataclass(slots=True)
class Result:
    """A scenario under one profile, over all its seeds."""

    scenario: Scenario
    profile: str
    seeds: list[int]
    measures: dict[str, Summary]
    rounds: list[dict[str, Summary]]
    cpu_s: float
    events: int
    verdicts: list[Verdict] = field(default_factory=list)


def results(scenarios: Sequence[Scenario], outcomes: Iterable[Outcome]) -> list[Result]:
    """Summarise all runs, in the order of scenarios and profiles."""
    runs: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        runs.setdefault((outcome.scenario, outcome.profile), []).append(outcome)
    made: list[Result] = []
    for scenario in scenarios:
        of_scenario = {
            profile: _result(scenario, profile, sorted(runs[scenario.name, profile], key=lambda run: run.seed))
            for profile in scenario.profiles
        }
        for result in of_scenario.values():
            result.verdicts = verdicts(result, of_scenario.get("upstream"))
        made.extend(of_scenario.values())
    return made


def _result(scenario: Scenario, profile: str, runs: list[Outcome]) -> Result:
    names = [name for name in runs[0].measures if all(name in run.measures for run in runs)]
    rounds = [
        {name: summarise([each[name] for each in parallel]) for name in parallel[0]}
        for parallel in zip(*(run.rounds for run in runs), strict=False)
    ]
    return Result(
        scenario,
        profile,
        [run.seed for run in runs],
        {name: summarise([run.measures[name] for run in runs]) for name in names},
        rounds,
        sum(run.cpu_s for run in runs),
        sum(run.events for run in runs),
    )


def verdicts(result: Result, upstream: Result | None) -> list[Verdict]:
    """Every promise that concerns this result."""
    promises = [each for each in result.scenario.expect if each.profile in ("", result.profile)]
    return [_verdict(promise, result, upstream) for promise in [*promises, NEVER_TWICE]]


def _verdict(promise: Expectation, result: Result, upstream: Result | None) -> Verdict:
    measured = result.measures.get(promise.measure)
    if measured is None:
        return Verdict(f"{promise.measure}: nothing in this scenario measures it", False)
    low, high = (measured.mean, measured.mean) if promise.over == "mean" else (measured.least, measured.most)
    least, most = float("-inf"), float("inf")
    if promise.at_most is not None:
        most, words = promise.at_most, f"<= {promise.at_most:g}"
    elif promise.at_least is not None:
        least, words = promise.at_least, f">= {promise.at_least:g}"
    elif promise.at_most_times_upstream is not None:
        if upstream is None or promise.measure not in upstream.measures:
            return Verdict(f"{promise.measure}: no result of upstream to compare with", False)
        most = promise.at_most_times_upstream * upstream.measures[promise.measure].mean
        words = f"<= {promise.at_most_times_upstream:g} x upstream, {most:.4g}"
    else:
        mean, deviation = result.scenario.anchor[promise.measure]
        span = (promise.within_sds or 0.0) * (deviation or 0.0)
        least, most = mean - span, mean + span
        words = f"within {promise.within_sds:g} standard deviations of {mean:g}, {least:.4g} to {most:.4g}"
    found = f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
    return Verdict(f"{promise.measure} {words}: {found}", least <= low and high <= most)
