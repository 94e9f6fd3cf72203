"""The command line: which scenarios, how many seeds, where the results go."""

import argparse
import dataclasses
import fnmatch
import json
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.simulation.gossip import picture, pool, report
from tests.simulation.gossip.journal import Journal
from tests.simulation.gossip.scenario import Panel, Scenario, ScenarioError, built_in, read
from tests.simulation.gossip.story import Outcome, make_profile
from tests.simulation.gossip.verdicts import results

KEPT, BROKEN, WRONG_USE = 0, 1, 2

EXAMPLES = """\
examples:
  python -m tests.simulation.gossip --list                 every built-in file and its scenarios
  python -m tests.simulation.gossip                        the anchor of spec gossip 16.3, 20 seeds, all cores
  python -m tests.simulation.gossip anchor --only '*n100*' --seeds 4
  python -m tests.simulation.gossip latency loss --json results.json --picture curves.svg
  python -m tests.simulation.gossip crash --journal runs.jsonl      interrupt it, and go on later
  python -m tests.simulation.gossip my.toml --profile ours --jobs 1

exit code: 0 every promise kept, 1 a promise broken, 2 wrong use or a scenario file with a mistake
"""


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    made = argparse.ArgumentParser(
        prog="python -m tests.simulation.gossip",
        description="Simulate swarms of gossip nodes and compare the figures with the specification's.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "files", nargs="*", default=["anchor"], metavar="FILE", help="built-in name or TOML file (default: anchor)"
    )
    made.add_argument("--list", action="store_true", help="list built-in files and their scenarios, and stop")
    made.add_argument(
        "--only", metavar="PATTERN", action="append", default=[], help="scenarios by name, * and ? allowed"
    )
    made.add_argument(
        "--profile", action="append", default=[], metavar="NAME", help="upstream or ours (default: as the file says)"
    )
    made.add_argument("--seeds", type=int, metavar="N", help="how many seeds instead of what the file says")
    made.add_argument("--first-seed", type=int, metavar="N", help="where to begin counting them")
    made.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (default: all cores)"
    )
    made.add_argument("--journal", metavar="FILE", help="note finished runs here, and do not repeat those noted before")
    made.add_argument(
        "--json", metavar="FILE", help="write all figures; - for the standard output instead of the table"
    )
    made.add_argument("--markdown", metavar="FILE", help="write the table for a document")
    made.add_argument("--picture", metavar="FILE", help="write the file's diagrams as SVG")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit code; see the end of `--help`.
    """
    given = parser().parse_args(arguments)
    complain = Console(stderr=True)
    try:
        if given.list:
            return show_list(Console())
        if given.jobs < 1 or (given.seeds is not None and given.seeds < 1):
            raise ScenarioError("--jobs and --seeds are at least 1")
        scenarios, panels = chosen(given)
        if given.picture and not panels:
            raise ScenarioError("--picture: no [[panel]] in these files says what to draw")
        journal = Journal(Path(given.journal)) if given.journal else None
        outcomes = list(watched(scenarios, given.jobs, journal, complain))
    except (ScenarioError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_USE
    found = results(scenarios, outcomes)
    command = shlex.join(
        ["python", "-m", "tests.simulation.gossip", *(sys.argv[1:] if arguments is None else arguments)]
    )
    document = json.dumps(report.as_json(found, command, datetime.now(UTC).date().isoformat()), indent=1)
    if given.json == "-":
        print(document)
    else:
        report.show_table(found, Console(width=None if sys.stdout.isatty() else 140))
        if given.json:
            Path(given.json).write_text(document + "\n", encoding="utf-8")
    if given.markdown:
        Path(given.markdown).write_text(report.markdown(found), encoding="utf-8")
    if given.picture:
        Path(given.picture).write_text(picture.draw(panels, found), encoding="utf-8")
    return KEPT if all(verdict.kept for result in found for verdict in result.verdicts) else BROKEN


def show_list(console: Console) -> int:
    """Print every built-in scenario."""
    for name, path in built_in().items():
        console.print(name, style="bold", highlight=False)
        for scenario in read(path).scenarios:
            console.print(f"  {scenario.name:32} {scenario.nodes:6} nodes  {scenario.about}", highlight=False)
    return KEPT


def chosen(given: argparse.Namespace) -> tuple[list[Scenario], list[Panel]]:
    """The scenarios and panels that the arguments ask for.

    Raises:
        ScenarioError: A file with a mistake, no such file, no such scenario, or no such profile.
    """
    known = built_in()
    scenarios: list[Scenario] = []
    panels: list[Panel] = []
    for name in given.files:
        path = known.get(name, Path(name))
        if not path.exists():
            raise ScenarioError(f"{name}: neither a file nor built in; built in are {', '.join(known)}")
        content = read(path)
        scenarios += content.scenarios
        panels += content.panels
    scenarios = [changed(each, given) for each in scenarios if wanted(each.name, given.only)]
    if not scenarios:
        raise ScenarioError(f"no scenario fits {' '.join(given.only)}; --list shows them")
    names = [scenario.name for scenario in scenarios]
    if len(set(names)) < len(names):
        raise ScenarioError("two of these files have a scenario of the same name; run them one after the other")
    for scenario in scenarios:
        for profile in scenario.profiles:
            make_profile(profile, scenario.changes)  # a mistake shows now, not after an hour
    return scenarios, panels


def wanted(name: str, patterns: Iterable[str]) -> bool:
    """Whether a scenario is asked for; without patterns all are."""
    patterns = list(patterns)
    return not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def changed(scenario: Scenario, given: argparse.Namespace) -> Scenario:
    """A scenario with what the command line sets otherwise; promises that lose their subject are dropped."""
    profiles = tuple(given.profile) or scenario.profiles
    expect = tuple(
        promise
        for promise in scenario.expect
        if (not promise.profile or promise.profile in profiles)
        and (promise.at_most_times_upstream is None or "upstream" in profiles)
    )
    return dataclasses.replace(
        scenario,
        profiles=profiles,
        expect=expect,
        seeds=given.seeds or scenario.seeds,
        first_seed=scenario.first_seed if given.first_seed is None else given.first_seed,
    )


def watched(scenarios: Sequence[Scenario], jobs: int, journal: Journal | None, console: Console) -> Iterator[Outcome]:
    """Run everything that is not in the journal, with a bar when a person watches."""
    todo = []
    for task in pool.tasks(scenarios):
        done = journal.find(task) if journal else None
        if done is None:
            todo.append(task)
        else:
            yield done
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task("runs", total=len(todo))
        for task, outcome in pool.run(todo, min(jobs, len(todo))):
            if journal:
                journal.add(task, outcome)
            progress.update(bar, advance=1, description=outcome.scenario)
            yield outcome
