"""Log lines: JSON in a pipe, text on a terminal, colours unless somebody does not want them."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from rmb_peer.logs import LogFormat, event, get_logger, setup_logging


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave logging as it was."""
    root, ours = logging.getLogger(), logging.getLogger("rmb")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def line(stream: io.StringIO, log_format: LogFormat = "auto", debug: int = 0) -> str:
    setup_logging(debug, log_format, stream)
    event(get_logger("relay"), logging.WARNING, "it rains", twin=7)
    event(get_logger("relay"), logging.DEBUG, "a drop")
    return stream.getvalue()


def test_a_pipe_gets_json() -> None:
    """One object in one line; debug lines only when asked for."""
    value = json.loads(line(io.StringIO()))
    assert (value["level"], value["part"], value["event"], value["twin"]) == ("warning", "relay", "it rains", 7)
    assert line(io.StringIO(), debug=1).count("\n") == 2


def test_a_terminal_gets_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """In colour, unless NO_COLOR is set, and as JSON if asked for."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = line(Terminal())
    assert text.startswith("\x1b[33m") and "relay: it rains twin=7" in text
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in line(Terminal())
    assert json.loads(line(Terminal(), "json"))["event"] == "it rains"
    assert "it rains twin=7" in line(io.StringIO(), "text")
