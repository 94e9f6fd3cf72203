"""Frames on their way out: what one turn of the event loop has to say leaves in one write.

A write that wakes another process costs more than making the frame. This module refuses to know what is in a frame,
and whether the line takes it: who writes too much is told by the transport, as ever.
"""

import asyncio
import os
from struct import Struct

from rmb_peer.websocket.splitter import BINARY

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

    __slots__ = ("_frames", "_loop", "_masked", "_scheduled", "_size_bytes", "_transport")

    def __init__(self, transport: asyncio.Transport, *, masked: bool) -> None:
        """Write to this transport; `masked` for a client."""
        self._transport = transport
        self._masked = masked
        self._loop = asyncio.get_running_loop()
        self._frames: list[bytes] = []
        self._size_bytes = 0
        self._scheduled = False

    @property
    def size_bytes(self) -> int:
        """Bytes that the transport has not been given."""
        return self._size_bytes

    def add(self, payload: bytes, first: int = BINARY) -> None:
        """Send a frame before the event loop looks at its sockets again."""
        frame = frame_of(first, payload, masked=self._masked)
        self._frames.append(frame)
        self._size_bytes += len(frame)
        if self._size_bytes >= GATHERED_BYTES_MAX:
            self.flush()
        elif not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._due)

    def flush(self) -> None:
        """Send now what there is."""
        if self._frames:
            frames, self._frames, self._size_bytes = self._frames, [], 0
            if not self._transport.is_closing():
                self._transport.write(frames[0] if len(frames) == 1 else b"".join(frames))

    def _due(self) -> None:
        self._scheduled = False
        self.flush()
