"""The promises of the issue at full size, minutes each: `python -m pytest tests/simulation -m long_simulation`.

`RESULTS.md` records them; the command line runs them with more seeds and draws them.
"""

import dataclasses

import pytest

from tests.simulation.gossip.checking import broken, run
from tests.simulation.gossip.scenario import Scenario, built_in, read

pytestmark = [pytest.mark.long_simulation, pytest.mark.timeout(3600)]


def scenarios(*files: str) -> list[Scenario]:
    """Every scenario of these files."""
    return [scenario for file in files for scenario in read(built_in()[file]).scenarios]


@pytest.mark.parametrize("wanted", scenarios("anchor", "assertions"), ids=lambda scenario: scenario.name)
def test_faithful_profile_lands_on_the_anchor(wanted: Scenario) -> None:
    """Spec gossip 16.3 and 15.6 with all their seeds."""
    assert broken(run(wanted)) == []


@pytest.mark.parametrize(
    "wanted",
    scenarios("crash", "latency", "loss", "partition", "rest", "rough"),
    ids=lambda scenario: scenario.name,
)
def test_ours_beats_upstream(wanted: Scenario) -> None:
    """Each weakness of spec gossip 18 that is mended, two seeds each."""
    assert broken(run(dataclasses.replace(wanted, seeds=2))) == []
