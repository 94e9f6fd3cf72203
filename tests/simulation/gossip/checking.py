"""For tests: run a built-in scenario, perhaps made shorter, and list the promises that were broken."""

import dataclasses

from tests.simulation.gossip.pool import run as run_all
from tests.simulation.gossip.pool import tasks
from tests.simulation.gossip.scenario import Scenario, built_in, read
from tests.simulation.gossip.verdicts import Result, results


def scenario(file: str, name: str, **changes: object) -> Scenario:
    """A built-in scenario with some of its fields replaced."""
    (found,) = [each for each in read(built_in()[file]).scenarios if each.name == name]
    return dataclasses.replace(found, **changes)  # type: ignore[arg-type] # a wrong field fails the test that names it


def run(wanted: Scenario) -> dict[str, Result]:
    """All profiles and seeds of a scenario, in this process."""
    outcomes = [outcome for _, outcome in run_all(tasks([wanted]), 1)]
    return {result.profile: result for result in results([wanted], outcomes)}


def broken(found: dict[str, Result]) -> list[str]:
    """Every promise that was not kept, in words."""
    return [f"{name}: {verdict.text}" for name, each in found.items() for verdict in each.verdicts if not verdict.kept]
