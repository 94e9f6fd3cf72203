"""Results for people and for programs: a table beside the specification's figures, and JSON."""

import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.simulation.gossip.scenario import Scenario
from tests.simulation.gossip.statistics import Summary
from tests.simulation.gossip.verdicts import Result


def shown(scenario: Scenario, result: Result) -> list[str]:
    """The measures of a scenario's table, in order."""
    names = list(scenario.show or scenario.anchor or ("rmr", "ldh", "duration_ms", "missed_percent"))
    return [name for name in names if name in result.measures or name in scenario.anchor]


def number(value: float) -> str:
    """A figure as short as it stays useful."""
    if value == int(value) and abs(value) < 1e9:
        return str(int(value))
    return f"{value:.4f}" if abs(value) < 0.1 else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def measured(measure: str, summary: Summary | None) -> str:
    """Mean and half the confidence interval; of a worst case, the worst of all seeds (spec gossip 16.3)."""
    if summary is None:
        return "-"
    if measure.rpartition(".")[2].startswith("worst_"):
        return number(summary.most)
    return f"{number(summary.mean)} ± {number(summary.ci95)}" if summary.count > 1 else number(summary.mean)


def anchored(scenario: Scenario, measure: str) -> str:
    """The specification's figure, with its standard deviation over seeds in brackets."""
    if measure not in scenario.anchor:
        return ""
    mean, deviation = scenario.anchor[measure]
    return number(mean) if deviation is None else f"{number(mean)} (sd {number(deviation)})"


def rows(results: Sequence[Result]) -> list[list[str]]:
    """The table's cells: scenario, measure, specification, then one column per profile in the order of `columns`."""
    by_name: dict[str, dict[str, Result]] = {}
    for result in results:
        by_name.setdefault(result.scenario.name, {})[result.profile] = result
    made = []
    for name, of_profile in by_name.items():
        some = next(iter(of_profile.values()))
        for measure in shown(some.scenario, some):
            cells = [
                measured(measure, of_profile[profile].measures.get(measure)) if profile in of_profile else ""
                for profile in columns(results)
            ]
            made.append([name, measure, anchored(some.scenario, measure), *cells])
    return made


def columns(results: Sequence[Result]) -> list[str]:
    """The profiles that occur, in order of appearance."""
    return list(dict.fromkeys(result.profile for result in results))


def show_table(results: Sequence[Result], console: Console) -> None:
    """Print the table, then every promise that was broken, then a count."""
    table = Table(title="mean ± half of the 95 % confidence interval")
    for heading in ("scenario", "measure", "specification", *columns(results)):
        table.add_column(heading, overflow="fold", justify="left" if heading in ("scenario", "measure") else "right")
    before = ""
    for name, *cells in rows(results):
        if before and name != before:
            table.add_section()
        table.add_row(name if name != before else "", *cells)
        before = name
    console.print(table)
    broken = [(result, verdict) for result in results for verdict in result.verdicts if not verdict.kept]
    for result, verdict in broken:
        console.print(Text(f"BROKEN {result.scenario.name} ({result.profile}): {verdict.text}", style="red"))
    total = sum(len(result.verdicts) for result in results)
    cpu_s, events = sum(result.cpu_s for result in results), sum(result.events for result in results)
    console.print(
        f"{total - len(broken)} of {total} promises kept; {events} events in {cpu_s:.0f} s of processor time",
        style="bold",
    )


def markdown(results: Sequence[Result]) -> str:
    """The same table for a document."""
    headings = ["scenario", "measure", "specification", *columns(results)]
    lines = [headings, ["---"] * len(headings)]
    before = ""
    for name, *cells in rows(results):
        lines.append([name if name != before else "", *cells])
        before = name
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def as_json(results: Sequence[Result], command: str, date: str) -> dict[str, Any]:
    """Everything, with what is needed to repeat it."""
    return {
        "command": command,
        "date": date,
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "python": platform.python_version(),
        },
        "results": [
            {
                "scenario": result.scenario.name,
                "about": result.scenario.about,
                "section": result.scenario.section,
                "profile": result.profile,
                "nodes": result.scenario.nodes,
                "seeds": result.seeds,
                "measures": {name: asdict(summary) for name, summary in result.measures.items()},
                "anchor": {name: list(figure) for name, figure in result.scenario.anchor.items()},
                "rounds": [{name: s.mean for name, s in each.items()} for each in result.rounds],
                "promises": [asdict(verdict) for verdict in result.verdicts],
                "cpu_s": result.cpu_s,
                "events": result.events,
            }
            for result in results
        ],
    }
