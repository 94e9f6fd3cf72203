"""Lines of children are read whole, whatever way they arrive and whatever they are."""

import io
import json
import logging
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.dev.log_lines import LINE_BYTES_MAX, LineCutter, read_line
from rmb_peer.logs import event, get_logger, setup_logging


@given(st.lists(st.binary()), st.lists(st.integers(1, 20), min_size=1))
def test_cutting_does_not_depend_on_how_bytes_arrive(lines: list[bytes], sizes: list[int]) -> None:
    """The same bytes in other pieces give the same lines."""
    data = b"\n".join(lines)
    whole = LineCutter("p")
    expected = [*whole.feed(data), *whole.end()]
    pieces: list[Any] = []
    cutter, position, turn = LineCutter("p"), 0, 0
    while position < len(data):
        size = sizes[turn % len(sizes)]
        pieces += cutter.feed(data[position : position + size])
        position, turn = position + size, turn + 1
    assert [*pieces, *cutter.end()] == expected


def test_our_own_lines_are_understood() -> None:
    """What `logs.py` writes is read back: event, level, time and fields."""
    stream = io.StringIO()
    before = list(logging.getLogger().handlers), logging.getLogger().level, logging.getLogger("rmb").level
    try:
        setup_logging(1, "json", stream)
        event(get_logger("gateway"), logging.DEBUG, "taken", uid="u", bytes=3)
    finally:
        logging.getLogger().handlers[:], level, own = before
        logging.getLogger().setLevel(level)
        logging.getLogger("rmb").setLevel(own)
    line = read_line("gateway-a", stream.getvalue().strip().encode())
    assert (line.part, line.event, line.level) == ("gateway-a", "taken", "debug")
    assert line.fields == {"part": "gateway", "uid": "u", "bytes": 3}
    assert line.at_s > 1_700_000_000


@given(st.binary() | st.dictionaries(st.sampled_from(["time", "event", "level"]), st.text() | st.integers()).map(
    lambda value: json.dumps(value).encode()
))  # fmt: skip
def test_noise_is_kept_as_text(data: bytes) -> None:
    """A stack trace or any other noise is a line without event."""
    line = read_line("p", data)
    assert line.event == ""
    assert line.text == data.decode(errors="replace").rstrip("\r")


def test_an_endless_line_is_cut() -> None:
    """A line without end does not grow in memory."""
    cutter = LineCutter("p")
    (line,) = cutter.feed(b"x" * (LINE_BYTES_MAX + 1))
    assert len(line.text) == LINE_BYTES_MAX
    assert list(cutter.feed(b"x" * LINE_BYTES_MAX)) == []
