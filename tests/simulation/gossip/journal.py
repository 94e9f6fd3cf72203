"""Finished runs in a file, one line each, so that an interrupted evening of simulation continues where it was.

A run counts as done only for the same scenario and the same code: each line carries a fingerprint of what decides the
outcome. Lines that do not parse, such as the last one after a power failure, are as good as absent.
"""

import hashlib
import json
from dataclasses import asdict
from functools import cache
from pathlib import Path

from rmb_peer.protocol.gossip import __file__ as core
from tests.simulation.gossip.pool import Task
from tests.simulation.gossip.story import Outcome

DECIDING = ("latency", "network", "overlay", "referee", "steps", "story")
"""Our modules that decide what a run gives; the rest only shows it."""


class Journal:
    """The finished runs of one file."""

    def __init__(self, path: Path) -> None:
        """Read what is there; the file need not exist.

        Raises:
            OSError: The file cannot be read.
        """
        self._path = path
        self._lines: dict[str, Outcome] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                if (entry := _entry(line)) is not None:
                    self._lines[entry[0]] = entry[1]

    def find(self, task: Task) -> Outcome | None:
        """The outcome of a run that was finished before."""
        return self._lines.get(fingerprint(task))

    def add(self, task: Task, outcome: Outcome) -> None:
        """Write a finished run down.

        Raises:
            OSError: The file cannot be written.
        """
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"run": fingerprint(task), **asdict(outcome)}) + "\n")


def fingerprint(task: Task) -> str:
    """What a run is: profile, seed, the scenario without its promises, and the code."""
    scenario = task.scenario
    parts = (scenario.name, scenario.nodes, scenario.steps, dict(scenario.changes), scenario.transport)
    text = repr((task.profile, task.seed, scenario.latency, scenario.ordered, parts, _code()))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


@cache
def _code() -> str:
    here = Path(__file__).parent
    files = [*sorted(Path(core).parent.glob("*.py")), *(here / f"{name}.py" for name in DECIDING)]
    return hashlib.blake2b(b"\0".join(file.read_bytes() for file in files), digest_size=12).hexdigest()


def _entry(line: str) -> tuple[str, Outcome] | None:
    try:
        fields = json.loads(line)
        return str(fields.pop("run")), Outcome(**fields)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
