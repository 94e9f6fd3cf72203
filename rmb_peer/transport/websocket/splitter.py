"""Finds the plain frames in a stream of WebSocket bytes (RFC 6455, 5.2), and passes on whatever is not plain. Pure.

Plain are whole binary messages, pings and pongs: all that a link has to say while it lives. They are read here, in a
few operations each. Fragments, texts, Close, and bytes that break the rules are passed on as they came, as `RAW`, for a
complete implementation to judge; `websockets` does. From a frame that announces too much, or that no rule allows,
everything is passed on: whoever judges it ends the connection, and nothing of the announced size has been held.

This module refuses to know connections, and what ends them.
"""

from struct import Struct

try:
    from websockets.speedups import apply_mask
except ImportError:  # on machines for which `websockets` has no wheel
    from websockets.utils import apply_mask

RAW = 0
"""In place of the first byte of a frame: bytes to be passed on."""

BINARY, PING, PONG = 0x82, 0x89, 0x8A
"""First bytes of plain frames: FIN is set, and no bit of an extension."""

CONTROL_BYTES_MAX = 125
"""RFC 6455, 5.5."""

_FIN, _OPCODE, _CONTINUATION, _TEXT, _BINARY, _CLOSE = 0x80, 0x0F, 0x0, 0x1, 0x2, 0x88
_MASKED, _LENGTH = 0x80, 0x7F
_LENGTH_16, _LENGTH_64 = 126, 127
_RESERVED = 0x70
_KEY_BYTES = 4
_UINT16, _UINT64 = Struct("!H"), Struct("!Q")
_OPCODES = frozenset((_CONTINUATION, _TEXT, _BINARY, _CLOSE & _OPCODE, PING & _OPCODE, PONG & _OPCODE))
_PLAIN = frozenset((BINARY, PING, PONG))


class Splitter:
    """One direction of one connection."""

    __slots__ = ("_first", "_fragments", "_head", "_key", "_left", "_masked", "_max", "_over", "_payload", "_raw_left")

    def __init__(self, message_bytes_max: int, *, masked: bool) -> None:
        """Begin at the first byte after the handshake.

        Args:
            message_bytes_max: longer messages are not plain.
            masked: whether the frames have to be masked: those of a client are (RFC 6455, 5.1).
        """
        self._max = message_bytes_max
        self._masked = _MASKED if masked else 0
        self._head = b""
        """The beginning of a header whose end has not come."""
        self._payload: bytearray | None = None
        """Of a plain frame that has come in part."""
        self._left = 0
        self._first = 0
        self._key = b""
        self._raw_left = 0
        """What is still to come of a frame that is passed on."""
        self._fragments = False
        self._over = False

    @property
    def held_bytes(self) -> int:
        """Bytes of an unfinished plain frame; never more than have come."""
        return len(self._head) + (0 if self._payload is None else len(self._payload))

    def pass_all_on(self) -> None:
        """From now on nothing is plain: the connection is ending, and what comes is for whoever ends it."""
        self._over = True
        self._payload = None
        self._head = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take what came.

        Returns:
            in order: the first byte of each plain frame with its payload, or `RAW` with bytes to pass on.
        """
        if self._over:
            return [(RAW, data)]
        found: list[tuple[int, bytes]] = []
        at = 0
        if self._payload is not None:
            at = self._left
            if len(data) < at:
                self._payload += data
                self._left -= len(data)
                return found
            self._payload += data[:at] if at < len(data) else data
            found.append((self._first, self._unmasked(self._payload, self._key)))
            self._payload = None
        elif self._raw_left:
            at = self._raw_left
            found.append((RAW, data[:at]))
            if len(data) <= at:
                self._raw_left -= len(data)
                return found
            self._raw_left = 0
        elif self._head:
            data = self._head + data
            self._head = b""
        self._split(data, at, found)
        return found

    def _split(self, data: bytes, at: int, found: list[tuple[int, bytes]]) -> None:
        """Read frames from here; the same operations for every frame, and therefore in one place."""
        end, masked = len(data), self._masked
        while at < end:
            if end - at < 2:
                self._head = data[at:]
                return
            first, second = data[at], data[at + 1]
            size_bytes = second & _LENGTH
            start = at + 2
            if size_bytes >= _LENGTH_16:
                start += 2 if size_bytes == _LENGTH_16 else 8
                if end < start:
                    self._begun(data[at:], found)
                    return
                size_bytes = (_UINT16 if size_bytes == _LENGTH_16 else _UINT64).unpack_from(data, at + 2)[0]
            if masked:
                start += _KEY_BYTES
            stop = start + size_bytes
            if (
                first not in _PLAIN
                or second & _MASKED != masked
                or size_bytes > (self._max if first == BINARY else CONTROL_BYTES_MAX)
                or (self._fragments and first == BINARY)
            ):
                if not self._allowed(first, second, size_bytes):
                    self.pass_all_on()
                    found.append((RAW, data[at:]))
                    return
                found.append((RAW, data[at:stop]))
                self._raw_left = max(0, stop - end)
            elif stop <= end:
                payload = data[start:stop]
                found.append((first, apply_mask(payload, data[start - _KEY_BYTES : start]) if masked else payload))
            elif end < start:
                self._head = data[at:]
                return
            else:
                self._first, self._key, self._left = first, data[start - _KEY_BYTES : start], stop - end
                self._payload = bytearray(data[start:])
            at = stop

    def _begun(self, head: bytes, found: list[tuple[int, bytes]]) -> None:
        """Of a header there is not yet the length. It is waited for, unless what there is breaks a rule already."""
        if head[1] & _MASKED == self._masked and head[0] & _OPCODE in _OPCODES:
            self._head = head
        else:
            self.pass_all_on()
            found.append((RAW, head))

    def _allowed(self, first: int, second: int, size_bytes: int) -> bool:
        """Whether a frame that is not plain has an end worth looking for. Notes where a message in fragments is."""
        opcode = first & _OPCODE
        if second & _MASKED != self._masked or first & _RESERVED or size_bytes > self._max or first == _CLOSE:
            return False
        if opcode == _CONTINUATION and self._fragments:
            self._fragments = not first & _FIN
            return True
        if opcode in (_TEXT, _BINARY) and not self._fragments:
            self._fragments = not first & _FIN
            return True
        return False

    def _unmasked(self, payload: bytearray, key: bytes) -> bytes:
        return apply_mask(payload, key) if self._masked else bytes(payload)
