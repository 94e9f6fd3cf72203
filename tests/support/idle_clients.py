"""Many idle clients of a relay in one process: each signs in, answers pings, and says nothing else.

    python -m tests.support.idle_clients URL FIRST COUNT PROTOCOL

connects the twins FIRST to FIRST + COUNT - 1, says how many are connected on standard output, one number per line, and
stays until standard input ends. Every client costs little here, so that the relay is what is measured.
"""

import asyncio
import base64
import os
import sys
import time
from urllib.parse import urlsplit

from relay.listening import raise_open_files
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.link.endings import SUBPROTOCOL, Window
from rmb_peer.protocol.link.link import Link
from rmb_peer.protocol.token import make_token
from tests.support.hosted_registry import signer

CONNECTING_MAX = 64
"""Handshakes at once: more would only queue in front of the relay."""

_BINARY, _CLOSE, _PING, _PONG = 0x2, 0x8, 0x9, 0xA
_KEY = base64.b64encode(bytes(16)).decode()


class Client(asyncio.Protocol):
    """One connection. What the relay sends is small: frames of up to 64 KiB are understood."""

    def __init__(self, host: str, twin: int, protocol: str) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gone = False
        self._host = host
        self._twin = twin
        self._protocol = protocol
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        owner = Address(self._twin)
        token = make_token(signer(str(self._twin), "ed25519"), owner, int(time.time()))
        offer = f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n" if self._protocol == SUBPROTOCOL else ""
        transport.write(
            f"GET /?{token} HTTP/1.1\r\nHost: {self._host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {_KEY}\r\n{offer}\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.ready.done():
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self.ready.set_exception(ConnectionError(f"twin {self._twin}: {self._buffer[:200]!r}"))
                return
            self._buffer = rest
            if self._protocol == SUBPROTOCOL:
                frame = Link[None](Window(1024, 1024 * 1024)).take_frame()
                assert frame is not None
                self._send(_BINARY, frame)
            self.ready.set_result(None)
        while (came := self._take()) is not None:
            opcode, payload = came
            if opcode in (_PING, _CLOSE):
                self._send(_PONG if opcode == _PING else _CLOSE, payload)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(f"twin {self._twin}: {exc or 'closed'}"))

    def abort(self) -> None:
        self._transport.abort()

    def _take(self) -> tuple[int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        start, length = 2, buffer[1] & 0x7F
        if length == 126:
            start, length = 4, int.from_bytes(buffer[2:4])
        if len(buffer) < start + length:
            return None
        self._buffer = buffer[start + length :]
        return buffer[0] & 0x0F, buffer[start : start + length]

    def _send(self, opcode: int, payload: bytes) -> None:
        assert len(payload) < 126
        self._transport.write(bytes((0x80 | opcode, 0x80 | len(payload))) + bytes(4) + payload)  # masked with zeros


async def main(url: str, first: int, count: int, protocol: str) -> None:
    """Connect, report, stay."""
    raise_open_files()
    loop = asyncio.get_running_loop()
    place = urlsplit(url)
    assert place.hostname is not None and place.port is not None
    host, port = place.hostname, place.port
    gate = asyncio.Semaphore(CONNECTING_MAX)
    connected = 0
    clients: list[Client] = []

    async def connect(twin: int) -> None:
        nonlocal connected
        async with gate:
            _, client = await loop.create_connection(lambda: Client(place.netloc, twin, protocol), host, port)
            clients.append(client)
            await client.ready
            connected += 1
            print(connected, flush=True)

    async with asyncio.TaskGroup() as tasks:
        for twin in range(first, first + count):
            tasks.create_task(connect(twin))
    await asyncio.to_thread(sys.stdin.read)
    gone = sum(client.gone for client in clients)
    for client in clients:
        client.abort()
    assert not gone, f"{gone} connections were lost"


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
    except* ConnectionError as group:
        print(group.exceptions[0], file=sys.stderr)
        os._exit(1)
