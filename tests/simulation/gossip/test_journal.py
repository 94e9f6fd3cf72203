"""The journal: finished runs are not repeated, and nothing else is taken for one."""

import dataclasses
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.simulation.gossip.cli import main
from tests.simulation.gossip.journal import Journal, fingerprint
from tests.simulation.gossip.pool import Task
from tests.simulation.gossip.scenario import Expectation, Scenario
from tests.simulation.gossip.steps import Bootstrap
from tests.simulation.gossip.story import Outcome

TASK = Task(Scenario("s", 10, (Bootstrap(),)), "ours", 7)
OUTCOME = Outcome("s", "ours", 7, {"rmr": 0.5}, [{"rmr": 0.5}], 1.5, 42)


def test_a_finished_run_is_found_again(tmp_path: Path) -> None:
    """What was added comes back from the file, unchanged."""
    Journal(tmp_path / "runs").add(TASK, OUTCOME)
    assert Journal(tmp_path / "runs").find(TASK) == OUTCOME


def test_only_what_decides_the_outcome_makes_another_run() -> None:
    """Seed, profile, nodes and steps count; promises and texts do not."""
    scenario = TASK.scenario
    others = [
        dataclasses.replace(TASK, seed=8),
        dataclasses.replace(TASK, profile="upstream"),
        dataclasses.replace(TASK, scenario=dataclasses.replace(scenario, nodes=11)),
        dataclasses.replace(TASK, scenario=dataclasses.replace(scenario, steps=(Bootstrap(trips=21),))),
        dataclasses.replace(TASK, scenario=dataclasses.replace(scenario, changes={"graft_first_s": 1.0})),
    ]
    assert len({fingerprint(task) for task in [TASK, *others]}) == 6
    promised = dataclasses.replace(scenario, expect=(Expectation("rmr", at_most=1),), about="other words", seeds=3)
    assert fingerprint(dataclasses.replace(TASK, scenario=promised)) == fingerprint(TASK)


@given(st.binary(max_size=60))
def test_noise_in_the_file_is_ignored(tmp_path_factory: object, noise: bytes) -> None:
    """A torn or foreign line is as good as absent."""
    path = Path(tmp_path_factory.mktemp("journal")) / "runs"  # type: ignore[attr-defined] # a fixture without public type
    path.write_bytes(noise + b'\n{"run": "x", "other": 1}\n[]\n')
    journal = Journal(path)
    assert journal.find(TASK) is None
    journal.add(TASK, OUTCOME)
    assert Journal(path).find(TASK) == OUTCOME


def test_an_interrupted_command_goes_on(tmp_path: Path) -> None:
    """The second command runs only what the first has not."""
    scenario, runs = tmp_path / "a.toml", tmp_path / "runs"
    scenario.write_text('[[scenario]]\nname = "s"\nnodes = 4\nsteps = [{ do = "bootstrap" }]\n', encoding="utf-8")
    arguments = [str(scenario), "--jobs", "1", "--profile", "ours", "--journal", str(runs)]
    assert main([*arguments, "--seeds", "2"]) == 0
    assert len(runs.read_text().splitlines()) == 2
    assert main([*arguments, "--seeds", "3"]) == 0
    assert len(runs.read_text().splitlines()) == 3


def test_an_unusable_journal_is_a_mistake_of_the_user(tmp_path: Path) -> None:
    """A folder in place of the file gives one line and exit code 2."""
    assert main(["anchor", "--journal", str(tmp_path)]) == 2
