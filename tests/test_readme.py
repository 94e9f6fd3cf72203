"""The README keeps its word: its files exist, its commands and flags are real, its codes are those of the code."""

import ast
import re
import shlex
from pathlib import Path

import pytest

from rmb_peer.commands import COMMANDS
from rmb_peer.protocol import errors
from tests.support.command_lines import check_command_line, flags_of
from tests.support.processes import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", re.sub(r"(?m)^ {3}", "", README), re.S)
SHELL_LINES = [line for kind, text in BLOCKS if kind == "sh" for line in text.strip().splitlines()]


def test_the_first_screen_has_exactly_two_commands() -> None:
    """Before the table of contents: one line that runs `dev`, one line that runs the tests."""
    first_screen = README.split("- [The life of a message]")[0]
    commands = re.findall(r"```sh\n(.*?)```", first_screen, re.S)
    assert [command.count("\n") for command in commands] == [1, 1]
    assert commands[0].strip().endswith(".venv/bin/pip install -q . && .venv/bin/rmb-peer dev")
    assert commands[1].strip().endswith("install -q -e '.[test]' && .venv/bin/python -m pytest -q")
    assert len(first_screen.splitlines()) < 40


def test_ci_runs_the_command_of_the_readme_last() -> None:
    """.ci/run installs as the README does and ends with the README's test command."""
    script = (ROOT / ".ci/run").read_text()
    assert "install -q -e '.[test]'" in script
    assert script.strip().splitlines()[-1] == "python -m pytest -q"
    for tool in ("ruff check .", "ruff format --check .", "mypy"):
        assert f"\n{tool}\n" in script
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`(?!application/)((?:\.ci|[a-z_]+)/[\w./-]*|[\w-]+\.(?:md|yml))`", README)))
)
def test_every_file_that_is_named_exists(path: str) -> None:
    """A path in the README is a path in the tree."""
    assert (ROOT / path).exists()


@pytest.mark.parametrize("anchor", re.findall(r"\]\(#([\w-]+)\)", README))
def test_every_link_leads_to_a_heading(anchor: str) -> None:
    """The table of contents has no dead ends."""
    headings = re.findall(r"(?m)^#+ (.*)$", re.sub(r"```.*?```", "", README, flags=re.S))
    assert anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("line", [line for line in SHELL_LINES if line.startswith(("rmb-peer", "rmb-relay"))])
def test_every_command_line_is_one(line: str) -> None:
    """Commands and flags in the examples are understood by the programs."""
    check_command_line(shlex.split(line, comments=True))


@pytest.mark.parametrize(("title", "command"), [("Join: run a gateway", ["rmb-peer"]), ("Host a relay", ["rmb-relay"])])
def test_the_tables_of_flags_are_the_flags(title: str, command: list[str]) -> None:
    """Each flag in a table exists, and each flag that is not hidden is in the table."""
    section = README.split(f"\n## {title}\n")[1].split("\n## ")[0]
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `-")]
    named = {flag for row in rows for flag in re.findall(r"(?<![\w-])(--?[a-z-]+)", row)}
    offered = flags_of(command) - {"-h", "--help", "-V", "--version"}
    assert named <= offered
    long_flags = {flag for flag in offered if flag.startswith("--")}
    assert long_flags - named <= {"--mnemonics", "--seed", "--debug"}


def test_every_subcommand_is_mentioned() -> None:
    """Nobody has to guess which commands exist."""
    for name in COMMANDS:
        assert name == "run" or re.search(rf"rmb-peer {name}\b", README), name


def test_every_error_code_is_in_the_table() -> None:
    """Each code that the programs can say has its row; codes that are only logged have none."""
    table = README.split("### Error codes")[1].split("\n## ")[0]
    rows = {int(code) for row in re.findall(r"(?m)^\| ([\d, ]+) \|", table) for code in row.split(",")}
    only_logged = {100, 101}
    codes = {
        kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.RmbError)
    }
    assert codes - only_logged <= rows


def test_the_python_examples_are_python() -> None:
    """It compiles; what they do is what the files in examples/ do, which run in the tests."""
    for text in [text for kind, text in BLOCKS if kind == "python"]:
        compile(text, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for name in ("client.py", "sdk_client.py", "sdk_service.py", "sdk_direct.py"):
        assert Path(ROOT / "examples" / name).exists()
