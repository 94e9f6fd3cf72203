"""A WebSocket to a relay, as the gateway needs it: no redirects, no compression, no pings of the library's own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol

from rmb_peer import __version__

DIAL_S_MAX = 10.0
"""Longest wait for a connection. A guess; the relay's own handshake limit is of this order."""

CLOSE_S_MAX = 1.0
"""Longest wait for the other side's Close. A guess: what has not ended is sent again in any case."""


class ClientSocket(ClientConnection):
    """Reports pings. In rmb.1 it leaves the answering of them to the speaker; the library answers when it reads.

    Attributes:
        on_ping: called with the number of messages that came before the ping, and its payload.
    """

    def __init__(self, protocol: ClientProtocol, **options: Any) -> None:
        """See the library."""
        super().__init__(protocol, **options)
        self.on_ping: Callable[[int, bytes], None] = lambda messages_before, payload: None
        self._messages = 0
        self._recv_frame = protocol.recv_frame
        protocol.recv_frame = self._frame_came  # type: ignore[method-assign]

    def _frame_came(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PING:
            self.on_ping(self._messages, bytes(frame.data))
            if self.subprotocol is None:
                return
        self._recv_frame(frame)
        if frame.fin and frame.opcode in (Opcode.BINARY, Opcode.TEXT, Opcode.CONT):
            self._messages += 1


class _Connect(connect):
    """Follows no redirects: our record names this relay, and the `Location` is the relay's to choose."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def dial(url: str, offered: Sequence[str], frame_bytes_max: int, headers: Mapping[str, str] | None = None) -> connect:
    """Connect to a relay; to be used with `async with`, which yields a `ClientSocket`.

    Args:
        url: with the token.
        offered: subprotocols; with none of them the handshake has no header for it.
        frame_bytes_max: larger messages from the relay end the connection.
        headers: more of them for the handshake.
    """
    return _Connect(
        url,
        subprotocols=[Subprotocol(name) for name in offered] or None,
        compression=None,  # payloads are encrypted; the Rust relay offers none (spec rmb appendix B)
        max_size=frame_bytes_max,
        ping_interval=None,  # see protocol/heartbeat.py
        open_timeout=DIAL_S_MAX,
        close_timeout=CLOSE_S_MAX,
        additional_headers=headers,
        user_agent_header=f"rmb-peer/{__version__}",
        create_connection=ClientSocket,
    )
