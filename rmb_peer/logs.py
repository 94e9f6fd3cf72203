"""Log lines: JSON in a pipe, readable on a terminal. Shared by gateway and relay.

An *event* is a short fixed text plus fields, so that a machine can group and a person can read. Payloads, secrets and
tokens are never fields.
"""

import logging
import os
import sys
import time
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import orjson

LogFormat = Literal["auto", "json", "text"]
TRACE = 5
"""Below DEBUG: what `-dd` shows."""

_COLOURS = {"WARNING": "33", "ERROR": "31", "CRITICAL": "31;1", "DEBUG": "2", "TRACE": "2"}


def setup_logging(debug: int, log_format: LogFormat = "auto", stream: TextIO | None = None) -> None:
    """Send all log lines of this process to `stream`.

    Args:
        debug: 0 information, 1 debug (one line per step of each message), 2 or more trace.
        log_format: "auto" means readable text on a terminal, else one JSON object per line.
        stream: standard error by default.
    """
    target = stream or sys.stderr
    logging.addLevelName(TRACE, "TRACE")
    terminal = target.isatty()
    handler = logging.StreamHandler(target)
    as_text = log_format == "text" or (log_format == "auto" and terminal)
    colours = terminal and not os.environ.get("NO_COLOR")  # no-color.org
    handler.setFormatter(_TextFormatter(colours) if as_text else _JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)  # libraries speak only when something is wrong
    logging.getLogger("rmb").setLevel((logging.INFO, logging.DEBUG, TRACE)[min(debug, 2)])


def get_logger(name: str) -> logging.Logger:
    """The logger of one part; `name` without the common prefix."""
    return logging.getLogger(f"rmb.{name}")


def event(log: logging.Logger, level: int, text: str, **fields: Any) -> None:
    """Log `text` with fields. Costs next to nothing when the level is off."""
    if log.isEnabledFor(level):
        log.log(level, text, extra={"fields": fields})


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "part": record.name.removeprefix("rmb."),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class _TextFormatter(logging.Formatter):
    def __init__(self, colours: bool) -> None:
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created)) + f".{record.msecs:03.0f}"
        fields = "".join(f" {name}={value}" for name, value in getattr(record, "fields", {}).items())
        part = record.name.removeprefix("rmb.")
        line = f"{clock} {record.levelname.lower():7} {part}: {record.getMessage()}{fields}"
        if self._colours and record.levelname in _COLOURS:
            line = f"\x1b[{_COLOURS[record.levelname]}m{line}\x1b[0m"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line
