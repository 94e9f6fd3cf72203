"""The command: what it prints, writes and returns."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.simulation.gossip.cli import BROKEN, KEPT, WRONG_USE, main

SMALL = """
[[scenario]]
name = "small"
nodes = 8
seeds = 2
steps = [{ do = "bootstrap" }, { do = "rounds", count = 3 }, { do = "look" }]
anchor = { rmr = [0.5, 0.1], missed = 0 }
expect = [{ measure = "missed", at_most = 0 }, { measure = "components", at_most = %s }]

[[panel]]
title = "Small & beautiful"
measure = "rmr"
x_label = "nodes"
y_label = "RMR"
points = [[8, "small"]]
anchor = [[8, 0.5]]

[[panel]]
title = "Round by round"
measure = "delivered_percent"
x_label = "round"
y_label = "%%"
rounds_of = "small"
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A scenario that takes milliseconds."""
    path = tmp_path / "small.toml"
    path.write_text(SMALL % 1, encoding="utf-8")
    return path


def test_table_json_markdown_and_picture(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One run writes all four, and they agree."""
    names = [tmp_path / name for name in ("a.json", "a.md", "a.svg")]
    written, markdown, picture = map(str, names)
    code = main([str(small), "--jobs", "1", "--json", written, "--markdown", markdown, "--picture", picture])
    assert code == KEPT
    shown = capsys.readouterr().out
    assert "6 of 6 promises kept" in shown
    document = json.loads(names[0].read_text())
    assert [result["profile"] for result in document["results"]] == ["upstream", "ours"]
    assert document["results"][0]["seeds"] == [1000, 1001]
    assert document["results"][0]["measures"]["missed"]["mean"] == 0
    assert "| small | rmr | 0.500 (sd 0.100) |" in names[1].read_text()
    drawing = ElementTree.fromstring(names[2].read_text())
    texts = [text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert "Small & beautiful" in texts
    assert texts.count("specification") == 1
    assert texts.count("ours") == 2


def test_a_broken_promise_is_the_exit_code(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A scenario whose expectation fails ends with 1 and names it."""
    small.write_text(SMALL % 0, encoding="utf-8")
    assert main([str(small), "--jobs", "1", "--seeds", "1"]) == BROKEN
    assert "BROKEN small (ours): components <= 0: 1" in capsys.readouterr().out


def test_json_on_the_standard_output_is_alone(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json -` prints nothing but the document, so that it can be piped."""
    assert main([str(small), "--jobs", "1", "--profile", "ours", "--first-seed", "7", "--json", "-"]) == KEPT
    document = json.loads(capsys.readouterr().out)
    assert [(result["profile"], result["seeds"]) for result in document["results"]] == [("ours", [7, 8])]


def test_several_processes_give_the_same_figures(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The number of processes changes the time a run takes and nothing else."""
    figures = []
    for jobs in ("1", "2"):
        assert main([str(small), "--jobs", jobs, "--json", "-"]) == KEPT
        figures.append([result["measures"] for result in json.loads(capsys.readouterr().out)["results"]])
    assert figures[0] == figures[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "neither a file nor built in"),
        (["anchor", "--only", "nothing*"], "no scenario fits"),
        (["anchor", "--seeds", "0"], "at least 1"),
        (["anchor", "--jobs", "0"], "at least 1"),
        (["anchor", "--profile", "theirs"], "'theirs' is unknown"),
        (["anchor", "--picture", "x.svg"], "what to draw"),
        (["anchor", "anchor"], "same name"),
    ],
)
def test_wrong_use_is_explained(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake gets one line that says what to do, and exit code 2."""
    assert main(arguments) == WRONG_USE
    captured = capsys.readouterr()
    assert words in captured.err
    assert len(captured.err.splitlines()) == 1


def test_list_and_help_name_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """`--list` shows every file, `--help` shows examples and exit codes."""
    assert main(["--list"]) == KEPT
    shown = capsys.readouterr().out
    assert "GossipMulti-n1000-r30" in shown
    assert "partition" in shown
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "exit code:" in capsys.readouterr().out
