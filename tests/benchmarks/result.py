"""What a run has found, as it is written to JSON and read from there. It refuses to know how it is shown."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from tests.benchmarks.rounds import Case


@dataclass(frozen=True)
class Entry:
    """One case.

    Attributes:
        part, group, name: which.
        figures: medians, and what follows from them by comparison with another case.
        seen: the figures of each round.
    """

    part: str
    group: str
    name: str
    figures: Mapping[str, float]
    seen: Sequence[Mapping[str, float]] = field(default_factory=list)

    @classmethod
    def of(cls, part: str, case: Case) -> Self:
        return cls(part, case.group, case.name, case.figures(), list(case.seen))


@dataclass
class Result:
    """One run.

    Attributes:
        command: that was given.
        began: date and time, for people.
        machine: processor, versions; see `machine.description`.
        rounds: medians of so many.
        seconds: of each run of requests.
        load_before, load_after: of the machine, as its load average: a quiet one has less than one before.
        took_s: all of it.
        entries: what was found.
        failed: parts that could not be measured, and why.
    """

    command: str
    began: str
    machine: Mapping[str, str]
    rounds: int
    seconds: float
    load_before: float
    load_after: float = 0.0
    took_s: float = 0.0
    entries: list[Entry] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def group(self, name: str) -> list[Entry]:
        """Cases that share a table."""
        return [entry for entry in self.entries if entry.group == name]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `as_json`.

        Raises:
            ValueError: it is something else.
        """
        try:
            entries = [Entry(**entry) for entry in value["entries"]]
            return cls(**{**value, "entries": entries})
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is no result of `python -m tests.benchmarks`: {error}") from error


def compared(entries: Sequence[Entry]) -> list[Entry]:
    """Entries with the ratios to the case beside which they were measured.

    Envelopes are compared with the echo, the throughput with that beside few sessions, two relays with one.
    """
    found = {(entry.group, entry.name): entry for entry in entries}
    first = {entry.group: entry for entry in reversed(entries)}

    def ratios(entry: Entry) -> dict[str, float]:
        mine = entry.figures
        if entry.group in ("envelopes", "throughput"):
            ratio = mine["per_core_s"] / first[entry.group].figures["per_core_s"]
            return {"by_echo" if entry.group == "envelopes" else "by_few": ratio}
        if entry.group == "federation":
            one = found[entry.group, entry.name.replace("two relays", "one relay")].figures
            return {
                "p50_more_ms": mine["p50_ms"] - one["p50_ms"],
                "per_s_by_one": mine["per_s"] / one["per_s"],
                "cpu_by_one": mine["cpu_by_floor"] * mine["floor_us"] / (one["cpu_by_floor"] * one["floor_us"]),
            }
        return {}

    return [
        Entry(entry.part, entry.group, entry.name, {**entry.figures, **ratios(entry)}, entry.seen) for entry in entries
    ]
