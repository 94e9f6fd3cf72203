"""Many frames leave in one write; none waits for ever, or behind a later one."""

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.transport.websocket.outgoing import GATHERED_BYTES_MAX, Outgoing, frame_of
from rmb_peer.transport.websocket.splitter import BINARY, PING, Splitter


class Transport:
    """Remembers writes."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def is_closing(self) -> bool:
        return self.closing


def outgoing(masked: bool = False) -> tuple[Transport, Outgoing]:
    transport: Any = Transport()
    return transport, Outgoing(transport, masked=masked)


@given(payload=st.sampled_from([0, 1, 125, 126, 65_535, 65_536, 70_000]).map(os.urandom), masked=st.booleans())
def test_a_frame_is_read_as_it_was_made(payload: bytes, masked: bool) -> None:
    """At every width of the length."""
    assert Splitter(2**20, masked=masked).feed(frame_of(BINARY, payload, masked=masked)) == [(BINARY, payload)]


def test_every_frame_of_a_client_has_a_key_of_its_own() -> None:
    """RFC 6455, 5.3: chosen anew for each frame."""
    assert len({frame_of(BINARY, bytes(4), masked=True)[2:6] for _ in range(50)}) > 45


def test_a_lone_frame_leaves_at_once() -> None:
    """Nobody waits for more that nobody announced."""
    transport, out = outgoing()
    out.add(b"a")
    assert transport.writes == [frame_of(BINARY, b"a", masked=False)]


def test_frames_with_more_behind_them_leave_together() -> None:
    """With the first one that has no more behind it, whatever it is, and in order."""
    transport, out = outgoing()
    out.add(b"a", more=True)
    out.add(b"b", more=True)
    assert transport.writes == [] and out.size_bytes == 6
    out.add(b"p", PING)
    assert Splitter(99, masked=False).feed(transport.writes[0]) == [(BINARY, b"a"), (BINARY, b"b"), (PING, b"p")]
    assert len(transport.writes) == 1 and out.size_bytes == 0


def test_flush_ends_the_waiting() -> None:
    """Once; there is nothing to write the second time."""
    transport, out = outgoing()
    out.add(b"a", more=True)
    out.flush()
    out.flush()
    assert transport.writes == [frame_of(BINARY, b"a", masked=False)]


def test_no_more_is_gathered_than_a_transport_holds() -> None:
    """It has to know what waits, to say when it is too much."""
    transport, out = outgoing()
    for _ in range(100):
        out.add(bytes(GATHERED_BYTES_MAX // 10), more=True)
        assert out.size_bytes < GATHERED_BYTES_MAX
    assert len(transport.writes) == 10


@pytest.mark.parametrize("more", [False, True])
def test_nothing_is_written_to_a_connection_that_is_gone(more: bool) -> None:
    """Some transports raise then, some complain in the log."""
    transport, out = outgoing()
    transport.closing = True
    out.add(b"a", more=more)
    out.flush()
    assert transport.writes == [] and out.size_bytes == 0
