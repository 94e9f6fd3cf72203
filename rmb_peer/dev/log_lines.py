"""Bytes of a child's standard error, cut into lines and read as the JSON that `logs.py` writes. Pure.

Lines that are no JSON (a stack trace, a library's warning) are kept as text. This module refuses to know processes.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

LINE_BYTES_MAX = 64 * 1024
"""Longer lines are cut: no line of ours is near this."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a part wrote.

    Attributes:
        part: name of the part, such as `gateway-a`.
        event: the fixed text; empty for lines that are not ours.
        level: such as `debug`; empty for lines that are not ours.
        at_s: Unix time; 0 for lines that are not ours.
        fields: everything else in the line.
        text: the line as it was written.
    """

    part: str
    event: str
    level: str
    at_s: float
    fields: dict[str, Any]
    text: str


class LineCutter:
    """Collects bytes and gives out complete lines."""

    def __init__(self, part: str) -> None:
        self._part = part
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[LogLine]:
        """The lines that `data` completes."""
        *complete, self._rest = (self._rest + data).split(b"\n")
        for line in complete:
            yield read_line(self._part, line[:LINE_BYTES_MAX])
        if len(self._rest) > LINE_BYTES_MAX:
            yield read_line(self._part, self._rest[:LINE_BYTES_MAX])
            self._rest = b""

    def end(self) -> Iterator[LogLine]:
        """The last line, if it has no line end."""
        if self._rest:
            yield read_line(self._part, self._rest)
            self._rest = b""


def read_line(part: str, line: bytes) -> LogLine:
    """Read one line, whatever it is."""
    text = line.decode(errors="replace").rstrip("\r")
    try:
        fields = json.loads(text)
        at_s = datetime.fromisoformat(fields.pop("time")).timestamp()
        return LogLine(part, str(fields.pop("event")), str(fields.pop("level")), at_s, fields, text)
    except (ValueError, RecursionError, KeyError, AttributeError, TypeError, OverflowError):  # not one of ours
        return LogLine(part, "", "", 0.0, {}, text)
