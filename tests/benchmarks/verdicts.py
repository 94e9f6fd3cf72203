"""What was aimed at, what was measured, and whether it was met. Pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

from tests.benchmarks.result import Entry, Result
from tests.benchmarks.tables import Table, number

SATURATED, LONE = 256, 1
"""Requests in flight."""

CPU_BY_FLOOR_MAX = {"rmb.2": 2.0, "rmb.1": 2.6}
LONE_MORE_MS_MAX = 1.0
PER_CORE_S_MIN = 50_000
BY_ECHO_MIN = {"rmb.2": 0.4, "rmb.1": 0.25}
SESSION_KIB_MAX = 24.0
BY_FEW_MIN = 0.9
HELD_UP_MS_MAX = 50.0


@dataclass(frozen=True)
class Verdict:
    """One target.

    Attributes:
        target: what was aimed at.
        measured: what was found; several figures if it was for several cases.
        met: by all of them.
    """

    target: str
    measured: str
    met: bool


def verdicts(result: Result) -> list[Verdict]:
    """Of all targets for which something was measured."""
    return [verdict for judge in _JUDGES for verdict in judge(result)]


def verdict_table(found: list[Verdict]) -> Table:
    """For people."""
    rows = [(one.target, one.measured, "yes" if one.met else "no") for one in found]
    return Table("Targets", ("target", "measured", "met"), rows, "")


def _processor(result: Result) -> Iterator[Verdict]:
    for route, entries in _routes(result, SATURATED):
        most = CPU_BY_FLOOR_MAX[_protocol(route)]
        ratios = [(entry.figures["cpu_by_floor"], entry.name.rpartition(", ")[2]) for entry in entries]
        yield Verdict(
            f"{route}: processor time at saturation at most {most:g} x floor",
            ", ".join(f"{number(ratio)} ({size})" for ratio, size in ratios),
            all(ratio <= most for ratio, _ in ratios),
        )


def _lone(result: Result) -> Iterator[Verdict]:
    hops = [number(entry.figures["request_ms"]) for entry in result.group("hops")]
    beside = f", the steps from process to process alone {' to '.join(hops)} ms" if hops else ""
    for route, entries in _routes(result, LONE):
        entry = min(entries, key=lambda entry: entry.figures["payload_bytes"])
        floor_ms, p50_ms = entry.figures["floor_us"] / 1000, entry.figures["p50_ms"]
        yield Verdict(
            f"{route}: p50 of a lone request at most floor + {LONE_MORE_MS_MAX:g} ms",
            f"{number(p50_ms)} ms; the floor is {number(floor_ms)} ms{beside}",
            p50_ms <= floor_ms + LONE_MORE_MS_MAX,
        )


def _relay(result: Result) -> Iterator[Verdict]:
    for entry in result.group("envelopes"):
        protocol, _, where = entry.name.partition(" ")
        if where != "online":
            continue
        ratio, per_core_s = entry.figures["by_echo"], entry.figures["per_core_s"]
        least = BY_ECHO_MIN[protocol]
        enough = protocol == "rmb.2" and per_core_s >= PER_CORE_S_MIN
        other = f"{PER_CORE_S_MIN:,} envelopes per second and core, or " if protocol == "rmb.2" else ""
        yield Verdict(
            f"relay, {protocol}, online: {other}{least:g} of a plain echo",
            f"{number(per_core_s)} per second and core, {number(ratio)} of the echo",
            enough or ratio >= least,
        )


def _memory(result: Result) -> Iterator[Verdict]:
    for entry in result.group("idle sessions"):
        each = entry.figures["kib_each"]
        yield Verdict(
            f"{entry.name}: at most {SESSION_KIB_MAX:g} KiB resident for each",
            f"{number(each)} KiB",
            each <= SESSION_KIB_MAX,
        )


def _crowd(result: Result) -> Iterator[Verdict]:
    for entry in result.group("throughput")[1:]:
        ratio = entry.figures["by_few"]
        few = result.group("throughput")[0].name
        yield Verdict(
            f"throughput {entry.name} at least {BY_FEW_MIN:g} of that {few}", number(ratio), ratio >= BY_FEW_MIN
        )


def _large(result: Result) -> Iterator[Verdict]:
    others = [entry for entry in result.group("large") if not entry.figures["own"]]
    for protocol, entries in groupby(others, lambda entry: entry.name.partition(",")[0]):
        found = [(entry.figures["held_up_ms"], entry.name.partition(", ")[2]) for entry in entries]
        yield Verdict(
            f"{protocol}: a payload of 16 MiB holds up no other message for more than {HELD_UP_MS_MAX:g} ms",
            ", ".join(f"{number(held_ms)} ms ({stream})" for held_ms, stream in found),
            all(held_ms <= HELD_UP_MS_MAX for held_ms, _ in found),
        )


def _routes(result: Result, in_flight: int) -> Iterator[tuple[str, list[Entry]]]:
    """Cases with so many in flight, by "key protocol"."""
    entries = [entry for entry in result.group("requests") if entry.figures["in_flight"] == in_flight]
    for route, some in groupby(entries, lambda entry: entry.name.partition(",")[0]):
        yield route, list(some)


def _protocol(route: str) -> str:
    return route.rpartition(" ")[2]


_JUDGES: tuple[Callable[[Result], Iterator[Verdict]], ...] = (_processor, _lone, _relay, _memory, _crowd, _large)
