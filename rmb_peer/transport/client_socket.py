"""A WebSocket to a relay, as the gateway needs it: no redirects, no compression, no pings of the library's own.

`websockets` makes the connection (addresses, proxies, TLS, handshake and what can go wrong there) and ends it. In
between, plain frames go past it (`rmb_peer/transport/websocket`): they are most of what is said, and its tasks, locks
and queues cost half of what a message does (tests/benchmarks/RESULTS.md, "WebSocket libraries"). What is not plain is
given to the library as it came: fragments, texts, Close, and every breach of a rule.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.exceptions import ConcurrencyError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import Event, State
from websockets.typing import Subprotocol

from rmb_peer import __version__
from rmb_peer.protocol.link.endings import LinkBroken
from rmb_peer.transport.websocket.outgoing import Outgoing
from rmb_peer.transport.websocket.splitter import BINARY, PING, PONG, RAW, Splitter

DIAL_S_MAX = 10.0
"""Longest wait for a connection. A guess; the relay's own handshake limit is of this order."""

CLOSE_S_MAX = 1.0
"""Longest wait for the other side's Close. A guess: what has not ended is sent again in any case."""

CLOSE_REASON_BYTES_MAX = 123
"""RFC 6455, 5.5: a control frame holds 125 bytes, two of them the code."""

UNREAD_BYTES_MAX = 256 * 1024
"""Bytes of messages that wait to be read, beyond which the line is not read: about what one read of a socket yields."""

MESSAGE_OVERHEAD_BYTES = 100
"""What a waiting message costs besides its bytes: those of an object and its place in a queue."""

_END_OF_HEAD = b"\r\n\r\n"


class ClientSocket(ClientConnection):
    """Reports pings. In rmb.1 it leaves the answering of them to the speaker, else it answers when it reads.

    Attributes:
        on_ping: called with the number of messages that came before the ping, and its payload.
    """

    def __init__(self, protocol: ClientProtocol, **options: Any) -> None:
        """See the library."""
        super().__init__(protocol, **options)
        self.on_ping: Callable[[int, bytes], None] = lambda messages_before, payload: None
        self._messages = 0
        self._head: bytes | None = b""
        """The last bytes of an answer to the handshake that has not ended; `None` when it has."""
        self._splitter = Splitter(protocol.max_message_size or 0, masked=False)
        self._outgoing: Outgoing
        self._fragments: list[bytes] = []
        self._is_text = False
        self._unread: deque[bytes | str] = deque()
        self._unread_bytes = 0
        self._held_up = False
        self._reader: asyncio.Future[None] | None = None
        self._cut: asyncio.TimerHandle | None = None

    # --- for whoever speaks -------------------------------------------------------------------------------------------

    async def recv(self, decode: bool | None = None) -> Any:
        """The next message: bytes, or a text. See the library; `decode` has no effect.

        Raises:
            ConnectionClosed: there is none, and there will be none.
            ConcurrencyError: another task is waiting already.
        """
        while not self._unread:
            if self.state is State.CLOSED:
                raise self.close_exc
            if self._reader is not None:
                raise ConcurrencyError("another task is reading already")
            self._reader = self.loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        message = self._unread.popleft()
        self._unread_bytes -= len(message) + MESSAGE_OVERHEAD_BYTES
        if self._held_up and self._unread_bytes <= UNREAD_BYTES_MAX // 2:
            self._held_up = False
            if not self.transport.is_closing():
                self.transport.resume_reading()
        return message

    async def send(self, message: Any, text: bool | None = None, *, more: bool = False) -> None:
        """Send bytes as one message; waits while the relay's side takes no more.

        Args:
            message: bytes.
            text: has no effect.
            more: another message follows at once, or `flush`: they leave together.

        Raises:
            ConnectionClosed: the connection is gone, or going.
        """
        await self._send_frame(message, BINARY, more=more)

    def flush(self) -> None:
        """No more messages follow at once."""
        self._outgoing.flush()

    async def pong(self, data: Any = b"") -> None:
        """See the library."""
        await self._send_frame(data, PONG)

    async def ping(self, data: Any = None) -> asyncio.Future[float]:
        """Ping with a payload that no other ping on its way has.

        Returns:
            what is done when the pong has come, and fails when the connection ends first.
        """
        pong: asyncio.Future[float] = self.loop.create_future()
        if self.state is State.OPEN:
            self.pending_pings[data] = pong, self.loop.time()
        await self._send_frame(data, PING)
        return pong

    async def close(self, code: CloseCode | int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """See the library. What was not read is thrown away: else the relay's Close might not get through."""
        self._unread.clear()
        self._unread_bytes = 0
        if self._held_up and not self.transport.is_closing():
            self._held_up = False
            self.transport.resume_reading()
        await super().close(code, reason)

    async def close_broken(self, error: LinkBroken) -> None:
        """Tell the relay which rule of the link it broke (protocol/link, rule 7)."""
        reason = str(error).encode()[:CLOSE_REASON_BYTES_MAX].decode(errors="ignore")
        await self.close(CloseCode.PROTOCOL_ERROR, reason)

    async def _send_frame(self, payload: bytes, first: int, *, more: bool = False) -> None:
        if self.state is not State.OPEN:
            async with self.send_context():  # waits for the end, and says what it was
                raise AssertionError("a connection that is not open lets nobody write")
        self._outgoing.add(payload, first, more=more)
        if self.paused:
            self._outgoing.flush()
            try:
                await self.drain()
            except OSError:
                await self.wait_closed()
                raise self.close_exc from None

    # --- what the transport tells us ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        super().connection_made(transport)
        self._outgoing = Outgoing(self.transport, masked=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        super().connection_lost(exc)
        if self._cut is not None:
            self._cut.cancel()
        self._wake_reader()

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if self._head is not None:
            data = self._handshake_received(self._head, data)
            if not data:
                return
        for first, payload in self._splitter.feed(data):
            if first == BINARY:
                self._message_came(payload)
            elif first == RAW:
                self._pass_on(payload)
                if self._cut is not None:
                    break
            elif first == PING:
                self._pinged(payload)
            else:
                self.acknowledge_pings(payload)
        if self._unread:
            self._wake_reader()
            if self._unread_bytes > UNREAD_BYTES_MAX and not self._held_up:
                self._held_up = True
                self.transport.pause_reading()

    def send_data(self) -> None:
        """What the library writes, a Close above all, comes after what we have written."""
        self._outgoing.flush()
        super().send_data()

    def process_event(self, event: Event) -> None:
        """What the library has read: the answer to the handshake, or a frame that is not plain."""
        if self.response is None:
            super().process_event(event)
            return
        assert isinstance(event, Frame)
        if event.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._is_text = event.opcode is Opcode.TEXT
        elif event.opcode is not Opcode.CONT:
            return
        self._fragments.append(bytes(event.data))
        if event.fin:
            message, self._fragments = b"".join(self._fragments), []
            self._whole_message(message)

    # --- what came ----------------------------------------------------------------------------------------------------

    def _handshake_received(self, head: bytes, data: bytes) -> bytes:
        """The answer to the handshake is the library's.

        Returns:
            what came behind it.
        """
        seen = head + data
        end = seen.find(_END_OF_HEAD)
        if end < 0:
            self._head = seen[1 - len(_END_OF_HEAD) :]
            super().data_received(data)
            return b""
        self._head = None
        own = end + len(_END_OF_HEAD) - len(head)
        super().data_received(data[:own])
        if self.state is not State.OPEN:
            self._splitter.pass_all_on()  # a refusal: what follows is its body
        return data[own:]

    def _message_came(self, message: bytes | str) -> None:
        self._messages += 1
        self._unread.append(message)
        self._unread_bytes += len(message) + MESSAGE_OVERHEAD_BYTES

    def _whole_message(self, message: bytes) -> None:
        if not self._is_text:
            self._message_came(message)
            return
        try:
            self._message_came(message.decode())
        except UnicodeDecodeError as error:  # RFC 6455, 8.1
            self.protocol.fail(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}")
            self.send_data()
            self._ends()

    def _pinged(self, payload: bytes) -> None:
        self.on_ping(self._messages, payload)
        if self.subprotocol is not None and self.state is State.OPEN:
            self._outgoing.add(payload, PONG)

    def _pass_on(self, data: bytes) -> None:
        super().data_received(data)
        if self.protocol.close_rcvd is not None or self.protocol.parser_exc is not None:
            self._ends()

    def _ends(self) -> None:
        """Both have said Close, or we have, because of a breach: the relay cuts the line soon (RFC 6455, 7.1.1)."""
        self._splitter.pass_all_on()
        if self._cut is None:
            self._cut = self.loop.call_later(CLOSE_S_MAX, self.transport.abort)

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class _Connect(connect):
    """Follows no redirects: our record names this relay, and the `Location` is the relay's to choose."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def dial(
    url: str,
    offered: Sequence[str],
    frame_bytes_max: int,
    *,
    headers: Mapping[str, str] | None = None,
    dial_s_max: float = DIAL_S_MAX,
    host: str | None = None,
) -> connect:
    """Connect to a relay; to be used with `async with`, which yields a `ClientSocket`.

    Args:
        url: with the token.
        offered: subprotocols; with none of them the handshake has no header for it.
        frame_bytes_max: larger messages from the relay end the connection.
        headers: sent with the handshake, besides those that it needs.
        dial_s_max: longest wait for the connection, handshakes included.
        host: connect to this address instead of the URL's host, without a proxy in between.
    """
    elsewhere: dict[str, Any] = {} if host is None else {"host": host, "proxy": None}
    return _Connect(
        url,
        subprotocols=[Subprotocol(name) for name in offered] or None,
        compression=None,  # payloads are encrypted; the Rust relay offers none (spec rmb appendix B)
        max_size=frame_bytes_max,
        ping_interval=None,  # see protocol/heartbeat.py
        open_timeout=dial_s_max,
        close_timeout=CLOSE_S_MAX,
        additional_headers=headers,
        user_agent_header=f"rmb-peer/{__version__}",
        create_connection=ClientSocket,
        **elsewhere,
    )
