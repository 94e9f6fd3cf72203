"""The way of one message, told from the log lines of the parts it went through. Pure.

Each part writes its line just after its step, on the clock of this machine; so the times of two neighbouring steps in
different processes may cross by a fraction of a millisecond.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rmb_peer.dev.log_lines import LogLine

LINES_MAX = 10_000
"""Lines kept while one message is followed; one message causes about 20."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the way.

    Attributes:
        ms: milliseconds since the request was pushed; `None` when the part's line was not seen.
        part: who did it.
        what: what it did.
    """

    ms: float | None
    part: str
    what: str


@dataclass(frozen=True, slots=True)
class _Expected:
    part: str
    event: str
    what: str
    fields: dict[str, Any]
    """What the line must also say."""


_WAY = (
    _Expected("gateway-a", "taken", "takes the request from msgbus.system.local", {}),
    _Expected("gateway-a", "sent", "seals it for twin {destination}, signs it, sends {bytes} bytes to the relay", {}),
    _Expected("relay", "routed", "routes it from {source} to {destination} ({how})", {"kind": "request"}),
    _Expected("gateway-b", "received", "receives {bytes} bytes", {"kind": "request"}),
    _Expected("gateway-b", "delivered", "verifies and opens it, pushes it to {list}", {}),
    _Expected("echo", "program started", "pops it, starts its program", {}),
    _Expected("echo", "program ended", "the program ends after {ms} ms; pushes its answer to msgbus.system.reply", {}),
    _Expected("gateway-b", "taken", "takes the answer", {}),
    _Expected("gateway-b", "sent", "seals it for twin {destination}, signs it, sends {bytes} bytes to the relay", {}),
    _Expected("relay", "routed", "routes it from {source} to {destination} ({how})", {"kind": "response"}),
    _Expected("gateway-a", "received", "receives {bytes} bytes", {"kind": "response"}),
    _Expected("gateway-a", "delivered", "verifies and opens it, pushes it to {list}", {}),
)
"""The lines of a request and its answer. The same part never writes the same event and kind twice for one uid."""


class Recorder:
    """Collects lines while a message is on its way."""

    def __init__(self) -> None:
        self._lines: list[LogLine] = []

    def add(self, line: LogLine) -> None:
        """Keep a line, if it belongs to a message and there is room."""
        if ("uid" in line.fields or "ref" in line.fields) and len(self._lines) < LINES_MAX:
            self._lines.append(line)

    def uid_of(self, reference: str) -> str | None:
        """The uid that the gateway gave to the request with this `ref`; `None` when it was not taken yet."""
        return next((line.fields.get("uid") for line in self._lines if line.fields.get("ref") == reference), None)

    def complete(self, reference: str) -> bool:
        """Whether every step was seen."""
        return all(line is not None for line in self._matched(reference))

    def steps(self, reference: str, pushed_at_s: float, popped_at_s: float) -> list[Step]:
        """The whole way, from push to pop."""
        way = [Step(0.0, "client", "pushes the request to msgbus.system.local on side A")]
        for expected, line in zip(_WAY, self._matched(reference), strict=True):
            if line is None:
                way.append(Step(None, expected.part, f"({expected.event}: not seen)"))
            else:
                way.append(Step(_ms(line.at_s - pushed_at_s), expected.part, _fill(expected.what, line.fields)))
        way.append(Step(_ms(popped_at_s - pushed_at_s), "client", "pops the answer"))
        return way

    def _matched(self, reference: str) -> list[LogLine | None]:
        uid = self.uid_of(reference)
        return [_find(self._lines, uid, expected) for expected in _WAY]


def _find(lines: Iterable[LogLine], uid: str | None, expected: _Expected) -> LogLine | None:
    says = {"uid": uid, **expected.fields}
    candidates = (line for line in lines if (line.part, line.event) == (expected.part, expected.event) and uid)
    return next((line for line in candidates if all(line.fields.get(name) == says[name] for name in says)), None)


def _fill(text: str, fields: dict[str, Any]) -> str:
    return text.format_map(_Known(fields))


class _Known(dict[str, Any]):
    def __missing__(self, name: str) -> str:
        return "?"


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
