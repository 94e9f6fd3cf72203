"""Many runs on all cores, the long ones first. It knows what a run is called and how to start it, not what it means."""

import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.simulation.gossip.scenario import Scenario
from tests.simulation.gossip.story import Outcome, play


@dataclass(frozen=True, slots=True)
class Task:
    """One scenario, one profile, one seed."""

    scenario: Scenario
    profile: str
    seed: int


def tasks(scenarios: Sequence[Scenario]) -> list[Task]:
    """Every run that these scenarios ask for, larger networks first so that no long run is left to the end."""
    made = [
        Task(scenario, profile, scenario.first_seed + number)
        for scenario in scenarios
        for profile in scenario.profiles
        for number in range(scenario.seeds)
    ]
    return sorted(made, key=lambda task: -task.scenario.nodes)


def run(todo: Sequence[Task], processes: int) -> Iterator[tuple[Task, Outcome]]:
    """Carry out all tasks, in any order.

    Args:
        todo: what to run.
        processes: how many at once; 1 runs here.
    """
    if processes <= 1:
        yield from map(_play, todo)
        return
    # Fresh processes: they behave alike on every system and Python version.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(_play, todo)


def _play(task: Task) -> tuple[Task, Outcome]:
    return task, play(task.scenario, task.profile, task.seed)
