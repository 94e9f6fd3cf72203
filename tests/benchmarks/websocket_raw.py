"""The other end of a measured WebSocket: raw bytes, made beforehand, counted and not looked at.

A peer that is the same for every library, and that answers a burst with one write, leaves the difference between two
measurements to what is measured. It refuses to know any WebSocket library.
"""

import asyncio
import base64
import hashlib
import re
from typing import cast

from websockets.frames import Frame, Opcode

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, 1.3."""


def frames(size_bytes: int, burst: int, masked: bool) -> bytes:
    """A burst of binary messages as they travel."""
    frame = Frame(Opcode.BINARY, bytes(size_bytes))
    return b"".join(frame.serialize(mask=masked) for _ in range(burst))


class Answering(asyncio.Protocol):
    """A server: answers the handshake, then each whole burst with a burst. The path says `/SIZE_BYTES/BURST`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._head = b""
        self._answer = b""
        self._burst_bytes = self._missing_bytes = 0

    def data_received(self, data: bytes) -> None:
        if self._answer:
            self._missing_bytes -= len(data)
            if self._missing_bytes <= 0:
                self._missing_bytes += self._burst_bytes
                self._transport.write(self._answer)
            return
        self._head += data
        if not self._head.endswith(b"\r\n\r\n"):
            return
        path = re.match(rb"GET /(\d+)/(\d+)", self._head)
        key = re.search(rb"(?i)sec-websocket-key: *(\S+)", self._head)
        assert path is not None and key is not None, self._head
        size_bytes, burst = int(path[1]), int(path[2])
        self._answer = frames(size_bytes, burst, masked=False)
        self._burst_bytes = self._missing_bytes = len(frames(size_bytes, burst, masked=True))
        accept = base64.b64encode(hashlib.sha1(key[1] + _GUID).digest())
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        self._transport.write(head + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")


class Asking(asyncio.Protocol):
    """A client: sends one burst after another, each when the answer to the one before is complete."""

    def __init__(self, size_bytes: int, burst: int, times: int) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._burst = frames(size_bytes, burst, masked=True)
        self._answer_bytes = self._missing_bytes = len(frames(size_bytes, burst, masked=False))
        self._times = times
        self._head: bytes | None = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        head = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        key = base64.b64encode(bytes(16))
        self._transport.write(head + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n")

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += data
            if self._head.endswith(b"\r\n\r\n"):
                assert self._head.startswith(b"HTTP/1.1 101"), self._head
                self._head = None
                self._transport.write(self._burst)
            return
        self._missing_bytes -= len(data)
        if self._missing_bytes > 0:
            return
        self._missing_bytes += self._answer_bytes
        self._times -= 1
        if self._times:
            self._transport.write(self._burst)
        elif not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionResetError("the measured side has gone"))
