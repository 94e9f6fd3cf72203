"""Frames on their way out: what a task has to say at once leaves in one write.

A write that wakes another process costs more than making the frame, and each is a record of its own with TLS. Who has
more to say tells so, and the frames wait for the last one. A timer for the end of the turn would gather as much, and
cost each lone frame one more turn of the event loop: 3 µs of 29 were measured. (uvloop gathers the writes of one turn
by itself, if there is no TLS.) This module refuses to know what is in a frame, and whether the line takes it: who
writes too much is told by the transport, as ever.
"""

import asyncio
import os
from struct import Struct

from rmb_peer.transport.websocket.splitter import BINARY

try:
    from websockets.speedups import apply_mask
except ImportError:  # on machines for which `websockets` has no wheel
    from websockets.utils import apply_mask

GATHERED_BYTES_MAX = 64 * 1024
"""More is written at once: the transport has to know, to say when it is too much.
Its own high-water mark by default."""

_MASKED = 0x80
_SMALL, _MEDIUM = 126, 65_536
_HEAD_16, _HEAD_64 = Struct("!BBH"), Struct("!BBQ")
_KEY_BYTES = 4


def frame_of(first: int, payload: bytes, *, masked: bool) -> bytes:
    """A whole frame (RFC 6455, 5.2).

    Args:
        first: its first byte, of `splitter`.
        payload: control frames hold 125 bytes at most.
        masked: whether we are the client.
    """
    bit, size_bytes = _MASKED if masked else 0, len(payload)
    if size_bytes < _SMALL:
        head = bytes((first, bit | size_bytes))
    elif size_bytes < _MEDIUM:
        head = _HEAD_16.pack(first, bit | _SMALL, size_bytes)
    else:
        head = _HEAD_64.pack(first, bit | (_SMALL + 1), size_bytes)
    if not masked:
        return head + payload
    key = os.urandom(_KEY_BYTES)  # RFC 6455, 10.3: not to be foreseen
    return head + key + apply_mask(payload, key)


class Outgoing:
    """Gathers the frames of one connection."""

    __slots__ = ("_frames", "_masked", "_size_bytes", "_transport")

    def __init__(self, transport: asyncio.Transport, *, masked: bool) -> None:
        """Write to this transport; `masked` for a client."""
        self._transport = transport
        self._masked = masked
        self._frames: list[bytes] = []
        self._size_bytes = 0

    @property
    def size_bytes(self) -> int:
        """Bytes that the transport has not been given."""
        return self._size_bytes

    def add(self, payload: bytes, first: int = BINARY, *, more: bool = False) -> None:
        """Send a frame, behind those that wait.

        Args:
            payload: what it holds.
            first: its first byte, of `splitter`.
            more: the same task sends another one, or flushes, before it waits for anything.
        """
        frame = frame_of(first, payload, masked=self._masked)
        if not more and not self._frames:
            if not self._transport.is_closing():
                self._transport.write(frame)
            return
        self._frames.append(frame)
        self._size_bytes += len(frame)
        if not more or self._size_bytes >= GATHERED_BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        """Send now what waits."""
        if self._frames:
            frames, self._frames, self._size_bytes = self._frames, [], 0
            if not self._transport.is_closing():
                self._transport.write(b"".join(frames))
