"""Large messages of local programs: their `dat` in pieces, so that no step takes the event loop for long.

Base64 and JSON hold the interpreter, so a thread would not help: at one go 16 MiB take 50 ms of JSON alone, and every
copy of them 5 to 10 ms. Here a message is cut into a light one, with an empty `dat`, and the text of its payload; that
is decoded or encoded piece by piece, and between two pieces others have their turn. Whatever is unusual is left to the
ordinary way.
"""

import binascii
import re
from collections.abc import Iterator
from typing import NamedTuple

import pybase64

from rmb_peer.local import base64_text

PIECE_TEXT_BYTES = 1024 * 1024
"""Base64 text that is handled at a time, a multiple of 4; about a millisecond."""

PIECE_BYTES = PIECE_TEXT_BYTES // 4 * 3

_DAT = re.compile(rb'"dat"[ \t\r\n]*:[ \t\r\n]*"')
_EMPTY_DAT = b'"dat":""'
OTHER_FIELDS_BYTES_MAX = 128 * 1024
"""What a message may have beside `dat` to be cut. A guess: ten thousand destinations."""


class LightMessage(NamedTuple):
    """A message in two.

    Attributes:
        light: the JSON with an empty `dat`.
        text: what `dat` is, not copied.
    """

    light: bytes
    text: memoryview

    @property
    def payload_bytes(self) -> int:
        """How large the payload is, if the text is base64."""
        padding = bytes(self.text[-2:]).count(b"=")
        return (len(self.text) - padding) * 3 // 4

    def decoded(self, into: bytearray) -> Iterator[None]:
        """Write the payload into an empty `bytearray`, one piece with each step.

        Raises:
            ValueError: the text is not base64; says in which way.
        """
        text = self.text
        last = max(0, len(text) - 1) // PIECE_TEXT_BYTES * PIECE_TEXT_BYTES
        try:
            for begin in range(0, last, PIECE_TEXT_BYTES):
                piece = pybase64.b64decode(text[begin : begin + PIECE_TEXT_BYTES], validate=True)
                if len(piece) != PIECE_BYTES:
                    raise ValueError("has characters or padding where none belong, or a length that cannot be")
                into += piece
                yield
        except binascii.Error:
            raise ValueError("has characters or padding where none belong, or a length that cannot be") from None
        try:
            into += base64_text.decode(str(text[last:], "utf-8"))
        except UnicodeDecodeError:
            raise ValueError("contains a character that is not in the standard alphabet") from None


def cut_dat(raw: bytes) -> LightMessage | None:
    """Take a message apart; `None` if it is unusual.

    The light one is to be parsed as any other, which says whether it is a message. Within a text the quotes around
    `dat` would be escaped, and a second one is not cut; if the only one is in an inner object, the light one has none.
    """
    name = raw.find(b'"dat"', 0, OTHER_FIELDS_BYTES_MAX)
    found = None if name < 0 else _DAT.match(raw, name)
    if found is None:
        return None
    begin = found.end()
    end = raw.find(b'"', begin)
    if end < 0 or len(raw) - (end - begin) > OTHER_FIELDS_BYTES_MAX or raw.find(b"\\", begin, end) >= 0:
        return None
    light = raw[:begin] + raw[end:]
    if light.count(b'"dat"') != 1 or b"\\u" in light:
        return None
    return LightMessage(light, memoryview(raw)[begin:end])


def encoded(payload: bytes | memoryview) -> Iterator[bytes]:
    """Base64 of a payload, piece by piece."""
    view = memoryview(payload)
    for begin in range(0, len(view), PIECE_BYTES):
        yield pybase64.b64encode(view[begin : begin + PIECE_BYTES])


def with_dat(light: bytes, pieces: list[bytes]) -> bytes:
    """The message with this payload instead of its empty one. For a thread.

    Args:
        light: as `messages` writes it. In a text the quotes would be escaped, so the first empty `dat` is the field.
        pieces: of `encoded`.
    """
    head, _, tail = light.partition(_EMPTY_DAT)
    return b"".join((head, _EMPTY_DAT[:-1], *pieces, b'"', tail))
