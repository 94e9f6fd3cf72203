"""Scenario files: TOML to checked records, with an error that names file, scenario and remedy.

A file holds `[[scenario]]` tables and optional `[[panel]]` tables that say what to draw. `DESIGN.md` describes the
format; `scenarios/` is full of examples. Nothing here runs anything.
"""

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from tests.simulation.gossip.latency import LatencySpec
from tests.simulation.gossip.steps import STEPS, Step

T = TypeVar("T")
FOLDER = Path(__file__).parent / "scenarios"
MOST_NODES = 100_000  # a guess at what fits in a few gigabytes; a typing error should not take the machine


class ScenarioError(Exception):
    """A scenario file that cannot be used; the text says where and what to do."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """A promise about one measure; a run that breaks it fails."""

    measure: str
    profile: str = ""  # empty: every profile of the scenario
    at_most: float | None = None
    at_least: float | None = None
    within_sds: float | None = None  # distance from the anchor in the anchor's standard deviations
    at_most_times_upstream: float | None = None  # needs the profile "upstream" in the same scenario
    over: Literal["mean", "every seed"] = "mean"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One network, what happens to it, and what should come out."""

    name: str
    nodes: int
    steps: tuple[Step, ...]
    about: str = ""
    section: str = ""  # of spec gossip, where the anchor's figures stand
    profiles: tuple[str, ...] = ("upstream", "ours")
    changes: Mapping[str, Any] = field(default_factory=dict)  # settings changed in every profile
    transport: Literal["native", "connections", "datagrams"] = "native"  # native: connections for upstream only
    ordered: bool = False  # every application asks for each author's messages in order, nothing missing
    latency: LatencySpec = field(default_factory=LatencySpec)
    first_seed: int = 1000  # spec gossip 16.3
    seeds: int = 20
    anchor: Mapping[str, tuple[float, float | None]] = field(default_factory=dict)  # mean, standard deviation
    show: tuple[str, ...] = ()  # measures of the table, in order; empty: those of the anchor
    expect: tuple[Expectation, ...] = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """One diagram: a measure of several scenarios against x, or a round-by-round curve of one scenario."""

    title: str
    measure: str
    x_label: str
    y_label: str
    points: tuple[tuple[float, str], ...] = ()  # x and scenario
    rounds_of: str = ""  # or: the scenario whose rounds are drawn
    anchor: tuple[tuple[float, float], ...] = ()  # x and the specification's figure


@dataclass(frozen=True, slots=True)
class ScenarioFile:
    """What one file says."""

    scenarios: tuple[Scenario, ...]
    panels: tuple[Panel, ...]


def built_in() -> dict[str, Path]:
    """The scenario files that come with the simulator, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}


def read(path: Path) -> ScenarioFile:
    """Read a scenario file.

    Raises:
        ScenarioError: It cannot be read, is not TOML, or says something that has no meaning.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ScenarioError(f"{path}: cannot be read as TOML: {error}") from None
    return parse(document, str(path))


def parse(document: Mapping[str, Any], where: str) -> ScenarioFile:
    """Check the content of a scenario file.

    Raises:
        ScenarioError: As `read`.
    """
    if unknown := sorted(set(document) - {"defaults", "scenario", "panel"}):
        raise ScenarioError(f"{where}: unknown table {unknown[0]!r}; use [defaults], [[scenario]] and [[panel]]")
    defaults = document.get("defaults", {})
    tables, panels = document.get("scenario", []), document.get("panel", [])
    if not isinstance(defaults, dict) or not _tables(tables) or not _tables(panels):
        raise ScenarioError(f"{where}: write [defaults] once, and [[scenario]] and [[panel]] in double brackets")
    scenarios = tuple(_scenario({**defaults, **table}, where) for table in tables)
    names = [scenario.name for scenario in scenarios]
    if not names or len(set(names)) < len(names):
        raise ScenarioError(f"{where}: at least one [[scenario]], and no name twice")
    drawn = tuple(_panel(table, f"{where}, panel {table.get('title')!r}", names) for table in panels)
    return ScenarioFile(scenarios, drawn)


def _scenario(table: dict[str, Any], where: str) -> Scenario:
    where = f"{where}, scenario {table.get('name')!r}"
    made = dict(table)
    steps = table.get("steps", [])
    expect = table.get("expect", [])
    anchor, latency = table.get("anchor", {}), table.get("latency", {})
    changes = table.get("changes", {})
    if not (_tables(steps) and _tables(expect)):
        raise ScenarioError(f"{where}: steps and expect are lists of tables")
    if not (isinstance(anchor, dict) and isinstance(latency, dict) and isinstance(changes, dict)):
        raise ScenarioError(f"{where}: anchor, latency and changes are tables")
    made["steps"] = tuple(_step(step, f"{where}, step {number}") for number, step in enumerate(steps, 1))
    made["expect"] = tuple(_record(Expectation, item, f"{where}, expectation") for item in expect)
    made["anchor"] = {measure: _figure(value, f"{where}, anchor {measure}") for measure, value in anchor.items()}
    made["latency"] = _record(LatencySpec, latency, f"{where}, latency")
    scenario = _record(Scenario, made, where)
    _check(scenario, where)
    return scenario


def _check(scenario: Scenario, where: str) -> None:
    if not 2 <= scenario.nodes <= MOST_NODES:
        raise ScenarioError(f"{where}: nodes from 2 to {MOST_NODES}")
    if scenario.seeds < 1 or not scenario.profiles or not scenario.steps:
        raise ScenarioError(f"{where}: at least one seed, one profile and one step")
    if problem := scenario.latency.problem():
        raise ScenarioError(f"{where}: {problem}")
    for step in scenario.steps:
        for name in ("fraction", "loss", "duplicate", "delayed"):
            if not 0 <= getattr(step, name, 0) < 1:
                raise ScenarioError(f"{where}: {name} of step {step.do!r} from 0 to below 1")
        for name in ("seconds", "limit_s", "deadline_s", "pause_s", "over_s", "delay_ms", "count"):
            if getattr(step, name, 0) < 0:
                raise ScenarioError(f"{where}: {name} of step {step.do!r} is negative")
        for name in ("every_s", "broadcast_s", "parts", "contacts", "trips"):
            if getattr(step, name, 1) <= 0:
                raise ScenarioError(f"{where}: {name} of step {step.do!r} must be above 0")
    for promise in scenario.expect:
        bounds = (promise.at_most, promise.at_least, promise.within_sds, promise.at_most_times_upstream)
        if sum(bound is not None for bound in bounds) != 1:
            raise ScenarioError(
                f"{where}: an expectation needs one of at_most, at_least, within_sds, at_most_times_upstream"
            )
        if promise.within_sds is not None and scenario.anchor.get(promise.measure, (0.0, None))[1] is None:
            raise ScenarioError(f"{where}: within_sds of {promise.measure!r} needs an anchor of [mean, deviation]")
        if promise.at_most_times_upstream is not None and "upstream" not in scenario.profiles:
            raise ScenarioError(f"{where}: at_most_times_upstream needs the profile 'upstream'")
        if promise.profile and promise.profile not in scenario.profiles:
            raise ScenarioError(f"{where}: expectation for {promise.profile!r}, which is not among the profiles")


def _step(table: dict[str, Any], where: str) -> Step:
    kind = STEPS.get(str(table.get("do")))
    if kind is None:
        raise ScenarioError(f"{where}: do = {table.get('do')!r} is unknown; use one of {', '.join(STEPS)}")
    return _record(kind, {name: value for name, value in table.items() if name != "do"}, where)


def _panel(table: dict[str, Any], where: str, names: list[str]) -> Panel:
    made = dict(table)
    for name in ("points", "anchor"):
        made[name] = tuple(tuple(pair) if isinstance(pair, list) else pair for pair in table.get(name, []))
    panel = _record(Panel, made, where)
    if bool(panel.points) == bool(panel.rounds_of):
        raise ScenarioError(f"{where}: either points or rounds_of")
    for name in [panel.rounds_of] if panel.rounds_of else [name for _, name in panel.points]:
        if name not in names:
            raise ScenarioError(f"{where}: scenario {name!r} is not in this file")
    return panel


def _figure(value: Any, where: str) -> tuple[float, float | None]:
    match value:
        case bool():
            pass
        case int() | float():
            return float(value), None
        case [int() | float() as mean, int() | float() as deviation]:
            return float(mean), float(deviation)
    raise ScenarioError(f"{where}: a number, or [mean, standard deviation]")


def _tables(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _record(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """A dataclass from a table: no unknown key, no missing one, every value of the field's type."""
    hints = get_type_hints(kind)
    fields = {item.name: item for item in dataclasses.fields(typing.cast(Any, kind))}
    for name, value in table.items():
        if name not in fields:
            raise ScenarioError(f"{where}: unknown setting {name!r}; use {', '.join(fields)}")
        if not _fits(value, hints[name]):
            raise ScenarioError(f"{where}: {name} = {value!r} does not fit; it should be {_words(hints[name])}")
    for name, item in fields.items():
        if name not in table and item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise ScenarioError(f"{where}: {name} is missing")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in table.items()})


def _fits(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin is Literal:
        return value in get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if origin is tuple:
        parts = get_args(hint)
        if not isinstance(value, list | tuple):
            return False
        if len(parts) == 2 and parts[1] is Ellipsis:
            return all(_fits(item, parts[0]) for item in value)
        return len(value) == len(parts) and all(map(_fits, value, parts))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (str, bool):
        return isinstance(value, hint)
    return hint is not type(None)  # records and mappings that were checked before


def _words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}.get(hint, str(hint))
