"""Reads, on the side of a server, what is not plain: messages in fragments, texts, Close, and what breaks the rules.

`websockets` does the reading (its Sans-I/O `ServerProtocol`); this makes it say what came in the terms of `splitter`.
Nothing is answered here: whoever has the connection knows what to say. Made when it is needed: few sessions ever do.
"""

from dataclasses import dataclass

from websockets.exceptions import PayloadTooBig
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from rmb_peer.transport.websocket.splitter import BINARY

TEXT, CLOSE = 0x81, 0x88
"""First bytes of a text and of a Close, as if they had come in one frame."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule of RFC 6455 that the client did not keep, or a message that is too large.

    Attributes:
        code: of the Close that is due (7.4.1).
        reason: for people; names what was wrong.
    """

    code: int
    reason: str


class Judge:
    """One connection.

    Attributes:
        broken: what was wrong; from then on nothing more is read.
        closed: whether a Close has come; from then on nothing more is read.
    """

    def __init__(self, message_bytes_max: int) -> None:
        """Begin between two frames; larger messages are refused when their headers have come."""
        self.broken: Broken | None = None
        self.closed = False
        self._protocol = ServerProtocol(state=State.OPEN, max_size=message_bytes_max)
        self._message = bytearray()
        self._kind = BINARY

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take what the splitter passes on.

        Returns:
            whole messages and the Close, in order.
        """
        if self.broken is not None or self.closed:
            return []
        self._protocol.receive_data(data)
        found: list[tuple[int, bytes]] = []
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._take(event, found)
        self._protocol.data_to_send()  # what it would answer
        error = self._protocol.parser_exc
        if error is not None and self.broken is None:
            code = self._protocol.close_sent.code if self._protocol.close_sent else CloseCode.PROTOCOL_ERROR
            self.broken = Broken(code, "message is too large" if isinstance(error, PayloadTooBig) else str(error))
        return found

    def _take(self, frame: Frame, found: list[tuple[int, bytes]]) -> None:
        if frame.opcode is Opcode.CLOSE:
            self.closed = True
            found.append((CLOSE, bytes(frame.data)))
            return
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._kind = TEXT if frame.opcode is Opcode.TEXT else BINARY
        elif frame.opcode is not Opcode.CONT:
            return
        self._message += frame.data
        if not frame.fin or self.broken is not None:
            return
        message, self._message = bytes(self._message), bytearray()
        if self._kind == TEXT:
            try:
                message.decode()
            except UnicodeDecodeError as error:  # RFC 6455, 8.1
                self.broken = Broken(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}")
                return
        found.append((self._kind, message))


def close_payload(code: int, reason: str) -> bytes:
    """What a Close frame holds (RFC 6455, 5.5.1)."""
    return Close(code, reason).serialize()
