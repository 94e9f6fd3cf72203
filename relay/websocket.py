"""The WebSocket of one client: aiohttp's, with what a relay needs around it.

- which requests are upgrades, and which handshakes are wrong (spec rmb 4.3);
- pings and pongs are handed out, not swallowed;
- how many bytes have really left, and whether bytes of an unfinished message keep arriving;
- a closing handshake during which the client's last frames are still read, and which an oversized message cannot cut
  short: closing a socket that holds unread bytes would reset it, and the client would never see why.

This module refuses to know envelopes and sessions.
"""

import asyncio
import base64
import binascii
import struct
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import ClientError, WSCloseCode, WSMessage, WSMsgType, hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy

from rmb_peer.transport.tcp import limit_unsent, silent_s

CLOSE_S_MAX = 2.0
"""How long a client gets to answer our Close before the connection is cut; a guess: two slow round trips."""

SUPERSEDED = 4001
"""Close code of ours: a newer connection has the same twin and session id (RFC 6455, 7.4.2: 4000 and up are free)."""

_VERSION = "13"
_KEY_BYTES = 16
_ENDED: Final = frozenset({WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR})


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


async def _drop(message: WSMessage) -> None:
    """What comes after our Close does not count."""


class ClientSocket:
    """One accepted WebSocket.

    Attributes:
        protocol: aiohttp's, of the connection.
    """

    __slots__ = ("_response", "_sent_bytes", "_transport", "protocol")

    def __init__(self, response: "_Response", transport: asyncio.Transport, protocol: web.RequestHandler) -> None:
        """Use `accept`."""
        self.protocol = protocol
        self._response = response
        self._transport = transport
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
        headers = CIMultiDict(request.headers)
        headers[hdrs.UPGRADE] = "websocket"  # aiohttp knows no lists here
        headers.popall(hdrs.SEC_WEBSOCKET_PROTOCOL, None)  # aiohttp would log offers that are not selected
        if subprotocol is not None:
            headers[hdrs.SEC_WEBSOCKET_PROTOCOL] = subprotocol
        protocol = request.protocol
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client left during the handshake")
        response = _Response(transport, message_bytes_max, subprotocol, envelope_bytes_max or message_bytes_max)
        await response.prepare(request.clone(headers=headers))
        response.forget_request()
        limit_unsent(transport)
        return cls(response, transport, protocol)

    @property
    def drained_bytes(self) -> int:
        """Payload bytes that have left our own buffers, about; grows exactly while the client's side takes data."""
        return self._sent_bytes - self._transport.get_write_buffer_size()

    @property
    def blocked(self) -> bool:
        """Whether written bytes wait for the client's side."""
        return self._transport.get_write_buffer_size() > 0

    def silent_s(self) -> float | None:
        """How long ago the last byte came from the client's side; `None` where the system does not tell."""
        return silent_s(self._transport)

    async def receive(self) -> WSMessage:
        """The next frame, pings and pongs included, or how the connection ended."""
        return await self._response.receive()

    async def send(self, data: bytes) -> None:
        """Write one binary message; waits while the client's side takes no more.

        Raises:
            ConnectionError: the connection is gone.
        """
        self._sent_bytes += len(data)
        await self._send_frame(data, WSMsgType.BINARY)

    async def ping(self, payload: bytes) -> None:
        """Write a ping.

        Raises:
            ConnectionError: the connection is gone.
        """
        await self._send_frame(payload, WSMsgType.PING)

    async def pong(self, payload: bytes) -> None:
        """Answer a ping.

        Raises:
            ConnectionError: the connection is gone.
        """
        await self._send_frame(payload, WSMsgType.PONG)

    async def close(self, code: int, text: str, on_frame: Callable[[WSMessage], Awaitable[None]] = _drop) -> None:
        """Say Close and wait a moment for the client's.

        Args:
            code: RFC 6455, section 7.4.
            text: for people, at most 123 bytes.
            on_frame: gets what the client sent before it heard our Close; by default that is thrown away.
        """
        try:
            async with asyncio.timeout(CLOSE_S_MAX):
                await self._send_frame(struct.pack("!H", code) + text.encode(), WSMsgType.CLOSE)
                while (message := await self._response.receive()).type not in _ENDED:
                    await on_frame(message)
        except (TimeoutError, ConnectionError):
            self._transport.abort()
        self._finish()

    async def answer_close(self) -> None:
        """The client said Close first: say it back and end."""
        try:
            async with asyncio.timeout(CLOSE_S_MAX):
                await self._response.close()
        except (TimeoutError, ConnectionError):
            self._transport.abort()
        self._finish()

    def abort(self) -> None:
        """Cut the connection; what was not sent is gone."""
        self._transport.abort()

    async def _send_frame(self, data: bytes, kind: WSMsgType) -> None:
        try:
            await self._response.send_frame(data, kind)
        except ClientError as error:  # what aiohttp raises when the connection goes while it waits
            raise ConnectionResetError(str(error)) from None

    def _finish(self) -> None:
        """Close the socket behind what is still being sent; a client that takes nothing cannot keep it open."""
        self._transport.close()
        asyncio.get_running_loop().call_later(CLOSE_S_MAX, self._transport.abort)


class _Response(web.WebSocketResponse):
    """aiohttp's WebSocket, without compression, and without a hasty end when the client breaks the rules."""

    def __init__(
        self, transport: asyncio.Transport, message_bytes_max: int, subprotocol: str | None, told_bytes_max: int
    ) -> None:
        super().__init__(
            protocols=() if subprotocol is None else (subprotocol,),
            autoping=False,
            autoclose=False,
            compress=False,
            max_msg_size=message_bytes_max + 1,  # aiohttp refuses messages of this size already
            timeout=CLOSE_S_MAX,
        )
        self._client_transport = transport
        self._told_bytes_max = told_bytes_max

    def forget_request(self) -> None:
        """Let go of the request that has been answered; whoever made us closes the connection."""
        self._req = None

    async def close(self, *, code: int = WSCloseCode.OK, message: bytes = b"", drain: bool = True) -> bool:
        """Called by aiohttp itself when a frame is wrong or too large: say why, and stay until the client has heard."""
        if code == WSCloseCode.MESSAGE_TOO_BIG:
            message = f"message is too large: at most {self._told_bytes_max} bytes are accepted".encode()
        if code in (WSCloseCode.MESSAGE_TOO_BIG, WSCloseCode.PROTOCOL_ERROR, WSCloseCode.INVALID_TEXT):
            transport = self._client_transport
            try:
                async with asyncio.timeout(CLOSE_S_MAX):
                    await self.send_frame(struct.pack("!H", code) + message, WSMsgType.CLOSE)
                    await _Sink(transport).gone
            except (TimeoutError, ClientError):
                transport.abort()
        return await super().close(code=code, message=message, drain=drain)


class _Sink(asyncio.Protocol):
    """Takes a connection over to throw away what still arrives, until the other side ends it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._predecessor = transport.get_protocol()
        transport.set_protocol(self)
        transport.resume_reading()
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
