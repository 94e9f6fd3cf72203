"""One answer to a scrape from many processes: their metrics, added up. Pure; it refuses to know where texts come from.

Samples with the label `worker` stay apart, one per process, as in relays of other makes (spec rmb 6.11); everything
else is added, so that existing dashboards stay right. A gauge that tells about something all processes see alike is not
added: the largest counts. Counters of a process that ended are kept, so that no counter ever goes back.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

_LARGEST = (
    *("_block_number", "_reconnecting", "_age_seconds", "_entries_shared", "_max_fds"),
    *("_federation_waiting", "_federation_waiting_bytes", "_federation_oldest_seconds", "_federation_open"),
    *("_federation_last_error", "_stored_messages", "_stored_bytes"),
)
"""Ends of names of gauges that are the same everywhere, such as what all processes read from the store."""

_SMALLEST = ("process_start_time_seconds",)

_Samples = dict[str, float]
"""`name{labels}` to value."""


@dataclass
class _Family:
    head: list[str] = field(default_factory=list)
    kind: str = "untyped"
    samples: _Samples = field(default_factory=dict)


def _families(text: str, number: int | None) -> dict[str, _Family]:
    """The families of one text, by name; with a number, the label `worker` says it."""
    found: dict[str, _Family] = {}
    family = found.setdefault("", _Family())
    for line in text.splitlines():
        if line.startswith("# "):
            _, what, name, *rest = line.split(" ", 3)
            family = found.setdefault(name, _Family())
            family.head.append(line)
            if what == "TYPE" and rest:
                family.kind = rest[0]
            continue
        sample, _, value = line.rpartition(" ")
        if sample:
            if number is not None:
                sample = sample.replace('worker="0"', f'worker="{number}"')
            family.samples[sample] = float(value)
    return found


def _is_counter(family: _Family) -> bool:
    return family.kind in ("counter", "histogram", "summary")


class MetricsSum:
    """The metrics of processes that come and go."""

    def __init__(self) -> None:
        """Start with no process."""
        self._latest: dict[int, dict[str, _Family]] = {}
        self._ended: _Samples = {}

    def update(self, number: int, text: str) -> None:
        """What a process says at present."""
        self._latest[number] = _families(text, number)

    def end(self, number: int) -> None:
        """A process has ended; the one that takes its number counts from 0."""
        for family in self._latest.pop(number, {}).values():
            if _is_counter(family):
                for sample, value in family.samples.items():
                    self._ended[sample] = self._ended.get(sample, 0.0) + value

    def text(self) -> str:
        """All of them, in Prometheus' text format."""
        lines: list[str] = []
        names = dict.fromkeys(name for families in self._latest.values() for name in families if name)
        for name in names:
            same = [families[name] for families in self._latest.values() if name in families]
            lines += same[0].head
            lines += [f"{sample} {_number(value)}" for sample, value in self._sum(name, same)]
        return "\n".join(lines) + "\n"

    def _sum(self, name: str, same: list[_Family]) -> Iterable[tuple[str, float]]:
        samples = dict.fromkeys(sample for family in same for sample in family.samples)
        for sample in samples:
            values = [family.samples[sample] for family in same if sample in family.samples]
            if name in _SMALLEST:
                yield sample, min(values)
            elif name.endswith(_LARGEST):
                yield sample, max(values)
            else:
                yield sample, sum(values) + (self._ended.get(sample, 0.0) if _is_counter(same[0]) else 0.0)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)
