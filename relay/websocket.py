"""The WebSocket of one client. The handshake is aiohttp's; frames are ours, because they are what a relay does all day.

- which requests are upgrades, and which handshakes are wrong (spec rmb 4.3);
- pings and pongs are handed out, not swallowed;
- how many bytes have really left, and whether bytes of an unfinished message keep arriving;
- a closing handshake during which the client's last frames are still read, and which an oversized message cannot cut
  short: closing a socket that holds unread bytes would reset it, and the client would never see why.

Plain frames go the short way (`rmb_peer/transport/websocket`), and what a task has to say at once leaves in one write.
`websockets` reads the rest. This module refuses to know envelopes and sessions.
"""

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import WSCloseCode, hdrs, web
from multidict import CIMultiDictProxy
from websockets.utils import accept_key

from relay.upgrade import drained, read_on, takes_no_more
from rmb_peer.transport.tcp import limit_unsent, silent_s
from rmb_peer.transport.websocket.judge import CLOSE, Broken, Judge, close_payload
from rmb_peer.transport.websocket.outgoing import Outgoing
from rmb_peer.transport.websocket.splitter import BINARY, PING, PONG, RAW, Splitter

CLOSE_S_MAX = 2.0
"""How long a client gets to answer our Close before the connection is cut; a guess: two slow round trips."""

CLOSE_TEXT_BYTES_MAX = 123
"""RFC 6455, 5.5: a control frame holds 125 bytes, two of them the code."""

SUPERSEDED = 4001
"""Close code of ours: a newer connection has the same twin and session id (RFC 6455, 7.4.2: 4000 and up are free)."""

UNREAD_BYTES_MAX = 64 * 1024
"""Bytes of frames that wait to be read, beyond which the line is not read. A guess; one read may exceed it."""

FRAME_OVERHEAD_BYTES = 100
"""What a waiting frame costs besides its bytes: those of two objects and a place in a list."""

LOST, BROKEN = -1, -2
"""In place of the first byte of a frame: the connection is gone; the client broke the rules, and has been told."""

_VERSION = "13"
_KEY_BYTES = 16

Heard = tuple[int, bytes]
"""The first byte of a frame (`splitter`, `judge`) and what it holds; or `LOST`; or `BROKEN` and how."""


class BadHandshake(Exception):
    """An upgrade that is none; the text says what is missing."""


def wants_websocket(headers: CIMultiDictProxy[str]) -> bool:
    """Whether a request is an upgrade: token lists, in any case; method and path do not count (spec rmb 4.3)."""
    return _has_token(headers, hdrs.CONNECTION, "upgrade") and _has_token(headers, hdrs.UPGRADE, "websocket")


def offers(headers: CIMultiDictProxy[str], subprotocol: str) -> bool:
    """Whether the client offers this subprotocol (RFC 6455, 11.3.4: case counts, and several headers are one list)."""
    lists = headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, [])
    return any(part.strip() == subprotocol for text in lists for part in text.split(","))


def check_handshake(headers: CIMultiDictProxy[str]) -> None:
    """Row 8 of spec rmb 4.3.

    Raises:
        BadHandshake: key or version is missing or wrong.
    """
    if headers.get(hdrs.SEC_WEBSOCKET_VERSION, "").strip() != _VERSION:
        raise BadHandshake(f"Sec-WebSocket-Version must be {_VERSION}")
    try:
        key = base64.b64decode(headers.get(hdrs.SEC_WEBSOCKET_KEY, "").strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise BadHandshake(f"Sec-WebSocket-Key must be {_KEY_BYTES} bytes in base64")


async def _drop(heard: Heard) -> None:
    """What comes after our Close does not count."""


class ClientSocket:
    """One accepted WebSocket.

    Attributes:
        protocol: aiohttp's, of the connection.
    """

    __slots__ = (
        "_broken",
        "_closing",
        "_heard",
        "_held_up",
        "_judge",
        "_lost",
        "_message_bytes_max",
        "_outgoing",
        "_sent_bytes",
        "_splitter",
        "_told_bytes_max",
        "_transport",
        "_unread_bytes",
        "_waiter",
        "protocol",
    )

    def __init__(
        self, protocol: web.RequestHandler, transport: asyncio.Transport, message_bytes_max: int, told_bytes_max: int
    ) -> None:
        """Use `accept`."""
        self.protocol = protocol
        self._transport = transport
        self._message_bytes_max = message_bytes_max
        self._told_bytes_max = told_bytes_max
        self._outgoing = Outgoing(transport, masked=False)
        self._splitter = Splitter(message_bytes_max, masked=True)
        self._judge: Judge | None = None
        self._heard: list[Heard] = []
        """No deque: an empty one takes more than everything else here."""
        self._unread_bytes = 0
        self._held_up = False
        self._lost = False
        self._broken: Broken | None = None
        self._closing = False
        self._waiter: asyncio.Future[None] | None = None
        self._sent_bytes = 0

    @classmethod
    async def accept(
        cls,
        request: web.Request,
        message_bytes_max: int,
        subprotocol: str | None = None,
        envelope_bytes_max: int | None = None,
    ) -> "ClientSocket":
        """Answer 101. Call after `wants_websocket` and `check_handshake`.

        Args:
            request: the upgrade.
            message_bytes_max: larger messages close the connection with 1009.
            subprotocol: the one of those offered that is selected (RFC 6455, 4.2.2), if any.
            envelope_bytes_max: the limit that such a client is told, when it is not that of a message.
        """
        protocol, transport = request.protocol, request.transport
        if transport is None:
            raise ConnectionResetError("the client left during the handshake")
        await _SwitchingProtocols(request.headers[hdrs.SEC_WEBSOCKET_KEY].strip(), subprotocol).prepare(request)
        limit_unsent(transport)
        socket = cls(protocol, transport, message_bytes_max, envelope_bytes_max or message_bytes_max)
        read_on(protocol, socket)
        return socket

    @property
    def drained_bytes(self) -> int:
        """Payload bytes that have left our own buffers, about; grows exactly while the client's side takes data."""
        return self._sent_bytes - self._transport.get_write_buffer_size() - self._outgoing.size_bytes

    @property
    def blocked(self) -> bool:
        """Whether written bytes wait for the client's side."""
        return self._transport.get_write_buffer_size() > 0

    def silent_s(self) -> float | None:
        """How long ago the last byte came from the client's side; `None` where the system does not tell."""
        return silent_s(self._transport)

    @property
    def unread(self) -> int:
        """Frames that `receive` would give at once."""
        return len(self._heard)

    async def receive(self) -> Heard:
        """The next frame, pings and pongs included, or how the connection ended. For one task at a time."""
        while not self._heard:
            if self._broken is not None:
                return await self._tell_broken(self._broken)
            if self._lost:
                return LOST, b""
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        heard = self._heard.pop(0)
        self._unread_bytes -= len(heard[1]) + FRAME_OVERHEAD_BYTES
        if self._held_up and self._unread_bytes <= UNREAD_BYTES_MAX // 2:
            self._held_up = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
        return heard

    async def send(self, data: bytes, *, more: bool = False) -> None:
        """Write one binary message; waits while the client's side takes no more.

        Args:
            data: the message.
            more: another one follows at once, or `flush`: they leave together.

        Raises:
            ConnectionError: the connection is gone.
        """
        self._sent_bytes += len(data)
        await self._send_frame(data, BINARY, more=more)

    def flush(self) -> None:
        """No more messages follow at once."""
        self._outgoing.flush()

    async def ping(self, payload: bytes) -> None:
        """Write a ping.

        Raises:
            ConnectionError: the connection is gone.
        """
        await self._send_frame(payload, PING)

    async def pong(self, payload: bytes) -> None:
        """Answer a ping.

        Raises:
            ConnectionError: the connection is gone.
        """
        await self._send_frame(payload, PONG)

    async def close(self, code: int, text: str, on_frame: Callable[[Heard], Awaitable[None]] = _drop) -> None:
        """Say Close and wait a moment for the client's.

        Args:
            code: RFC 6455, section 7.4.
            text: for people, at most 123 bytes.
            on_frame: gets what the client sent before it heard our Close; by default that is thrown away.
        """
        try:
            async with asyncio.timeout(CLOSE_S_MAX):
                await self._say_close(code, text)
                while (heard := await self.receive())[0] not in (CLOSE, LOST, BROKEN):
                    await on_frame(heard)
        except (TimeoutError, ConnectionError):
            self._transport.abort()
        self._finish()

    async def answer_close(self) -> None:
        """The client said Close first: say it back and end."""
        try:
            async with asyncio.timeout(CLOSE_S_MAX):
                await self._say_close(WSCloseCode.OK, "")
        except (TimeoutError, ConnectionError):
            self._transport.abort()
        self._finish()

    def abort(self) -> None:
        """Cut the connection; what was not sent is gone."""
        self._transport.abort()

    # --- what aiohttp tells us ----------------------------------------------------------------------------------------

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Bytes came. What aiohttp makes of the answer: go on."""
        heard, before = self._heard, len(self._heard)
        for frame in self._splitter.feed(data):
            if frame[0] != RAW:
                heard.append(frame)
            elif self._pass_on(frame[1]):
                break
        for _, payload in heard[before:] if before else heard:
            self._unread_bytes += len(payload) + FRAME_OVERHEAD_BYTES
        if self._unread_bytes > UNREAD_BYTES_MAX and not self._transport.is_closing():
            self._held_up = True
            self._transport.pause_reading()
        if heard or self._broken is not None:
            self._wake_reader()
        return False, b""

    def feed_eof(self) -> None:
        """The connection is gone."""
        self._lost = True
        self._wake_reader()

    # --- the rest -----------------------------------------------------------------------------------------------------

    def _pass_on(self, data: bytes) -> bool:
        """Have it judged; whether nothing more counts."""
        if self._judge is None:
            self._judge = Judge(self._message_bytes_max)
        self._heard += self._judge.feed(data)
        if self._judge.closed or self._judge.broken is not None:
            self._broken = self._judge.broken
            self._splitter.pass_all_on()
            return True
        return False

    def _wake_reader(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _send_frame(self, data: bytes, first: int, *, more: bool = False) -> None:
        if self._closing or self._transport.is_closing():
            raise ConnectionResetError("the connection is closing")
        self._outgoing.add(data, first, more=more)
        if takes_no_more(self.protocol):
            self._outgoing.flush()
            await drained(self.protocol)

    async def _say_close(self, code: int, text: str) -> None:
        await self._send_frame(close_payload(code, text), CLOSE)
        self._closing = True

    async def _tell_broken(self, broken: Broken) -> Heard:
        """Say why, and stay until the client has heard."""
        reason = broken.reason
        if broken.code == WSCloseCode.MESSAGE_TOO_BIG:
            reason = f"message is too large: at most {self._told_bytes_max} bytes are accepted"
        text = reason.encode()[:CLOSE_TEXT_BYTES_MAX].decode(errors="ignore")
        try:
            async with asyncio.timeout(CLOSE_S_MAX):
                if not self._closing:
                    await self._say_close(broken.code, text)
                await _Sink(self._transport).gone
        except (TimeoutError, ConnectionError):
            self._transport.abort()
        return BROKEN, reason.encode()

    def _finish(self) -> None:
        """Close the socket behind what is still being sent; a client that takes nothing cannot keep it open."""
        self._outgoing.flush()
        self._transport.close()
        asyncio.get_running_loop().call_later(CLOSE_S_MAX, self._transport.abort)


class _SwitchingProtocols(web.StreamResponse):
    """The answer to a handshake (RFC 6455, 4.2.2)."""

    def __init__(self, key: str, subprotocol: str | None) -> None:
        super().__init__(status=101)
        self.headers[hdrs.UPGRADE] = "websocket"
        self.headers[hdrs.CONNECTION] = "upgrade"
        self.headers[hdrs.SEC_WEBSOCKET_ACCEPT] = accept_key(key)
        if subprotocol is not None:
            self.headers[hdrs.SEC_WEBSOCKET_PROTOCOL] = subprotocol


class _Sink(asyncio.Protocol):
    """Takes a connection over to throw away what still arrives, until the other side ends it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._predecessor = transport.get_protocol()
        transport.set_protocol(self)
        transport.resume_reading()
        if transport.can_write_eof():  # not with TLS
            with suppress(OSError):  # it is gone already, and we shall hear of it
                transport.write_eof()  # many clients wait for our end before they close theirs

    def connection_lost(self, exc: Exception | None) -> None:
        self._predecessor.connection_lost(exc)  # aiohttp keeps a list of its connections
        if not self.gone.done():
            self.gone.set_result(None)

    def pause_writing(self) -> None:
        self._predecessor.pause_writing()

    def resume_writing(self) -> None:
        self._predecessor.resume_writing()


def _has_token(headers: CIMultiDictProxy[str], name: str, token: str) -> bool:
    lists = headers.getall(name, [])
    return any(part.strip().lower() == token for text in lists for part in text.split(","))
