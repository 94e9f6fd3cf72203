"""How far the benchmark is."""

import pytest

from tests.benchmarks.progress import progress


def test_plain_lines_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal there is a line for each part and each run, and no control character."""
    with progress() as told:
        for part, count in (("relay", 2), ("large", 1)):
            told.part(part)
            told.steps(count)
            for number in range(count):
                told.step(f"run {number}")
    lines = [line.partition(" s  ")[2] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["relay: starting", "relay 1/2: run 0", "relay 2/2: run 1", "large: starting", "large 1/1: run 0"]
